/** How the calendar looks on this device. */
import { firstDayOf, hour12Of, type TimeStyle, type Weekday } from "./time/format.ts";
import { deviceZone } from "./time/zones.ts";

export type View = "month" | "week" | "day" | "agenda";

interface Kept {
  view: View | null;
  /** Rooms and equipment are shown beside the calendar, in the views of a day and a week. */
  byResource: boolean;
  /** The zone that times are shown in; null: the account's. */
  zone: string | null;
  /** null: as in the locale. */
  firstDay: Weekday | null;
  hour12: boolean | null;
  /** Whether the first steps need not be shown any more. */
  introduced: boolean;
}

const KEY = "appointments.settings";
const NOTHING: Kept = {
  view: null,
  byResource: false,
  zone: null,
  firstDay: null,
  hour12: null,
  introduced: false,
};

function read(): Kept {
  try {
    return { ...NOTHING, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Kept>) };
  } catch {
    return NOTHING;
  }
}

class Settings {
  readonly locale = navigator.language || "en-GB";
  #kept = $state.raw(read());
  /** The account's zone, or the device's while the account has none of its own. */
  home = $state(deviceZone());

  get view(): View {
    return this.#kept.view ?? (innerWidth < 640 ? "day" : "week");
  }

  get byResource(): boolean {
    return this.#kept.byResource && (this.view === "day" || this.view === "week");
  }

  get zone(): string {
    return this.#kept.zone ?? this.home;
  }

  get firstDay(): Weekday {
    return this.#kept.firstDay ?? firstDayOf(this.locale);
  }

  get hour12(): boolean {
    return this.#kept.hour12 ?? hour12Of(this.locale);
  }

  get timeStyle(): TimeStyle {
    return { locale: this.locale, zone: this.zone, hour12: this.hour12 };
  }

  /** What was chosen, apart from what follows from the locale and the account. */
  get chosen(): Kept {
    return this.#kept;
  }

  choose(choice: Partial<Kept>): void {
    this.#kept = { ...this.#kept, ...choice };
    localStorage.setItem(KEY, JSON.stringify(this.#kept));
  }
}

export const settings = new Settings();
