/**
 * The rooms that the tabs of this browser show. The tab with the stream of changes asks for them and follows them too, and
 * tells each tab which of them have changed.
 */
import { uuid } from "./uuid.ts";

/** The most that one stream follows. */
const MOST = 50;

type Message =
  | { readonly kind: "asked" }
  | { readonly kind: "shown"; readonly tab: string; readonly ids: readonly string[] }
  | ({ readonly kind: "changed" } & News);

export interface News {
  /** Rooms whose bookings are not what they were. */
  readonly ids: readonly string[];
  /** Rooms themselves have changed, or which of them one may see. */
  readonly list: boolean;
}

class Shown {
  readonly #tab = uuid();
  readonly #tabs = new BroadcastChannel("appointments.rooms");
  #mine: readonly string[] = [];
  readonly #others = new Map<string, readonly string[]>();
  /** Called with what has changed of the rooms that this tab shows. */
  onchange: (news: News) => void = () => {};
  /** Called where the stream is, when other rooms are shown: in this tab, or in another. */
  onshown: (elsewhere: boolean) => void = () => {};

  constructor() {
    this.#tabs.onmessage = ({ data }: MessageEvent<Message>) => {
      if (data.kind === "asked") this.#tell(this.#mine);
      else if (data.kind === "changed") this.#hear(data);
      else {
        if (data.ids.length > 0) this.#others.set(data.tab, data.ids);
        else this.#others.delete(data.tab);
        this.onshown(true);
      }
    };
    addEventListener("pagehide", () => this.#tell([]));
    addEventListener("pageshow", () => this.#tell(this.#mine));
  }

  /** This tab shows these from now on. To be told before they are read, so that no change falls in between. */
  show(ids: readonly string[]): void {
    if (ids.join() === this.#mine.join()) return;
    this.#mine = ids;
    this.#tell(ids);
    this.onshown(false);
  }

  /** Those of all tabs, or of this one alone. */
  all(alone: boolean): string[] {
    const lists = alone ? [this.#mine] : [this.#mine, ...this.#others.values()];
    return [...new Set(lists.flat())].slice(0, MOST);
  }

  /** Ask the other tabs anew. Those that are gone do not answer. */
  ask(): void {
    this.#others.clear();
    this.#post({ kind: "asked" });
  }

  /** Tell all tabs what has changed, or this one alone. */
  tell(news: News, alone: boolean): void {
    if (news.ids.length === 0 && !news.list) return;
    this.#hear(news);
    if (!alone) this.#post({ kind: "changed", ...news });
  }

  #hear({ ids, list }: News): void {
    const mine = ids.filter((id) => this.#mine.includes(id));
    if (mine.length > 0 || (list && this.#mine.length > 0)) this.onchange({ ids: mine, list });
  }

  #tell(ids: readonly string[]): void {
    this.#post({ kind: "shown", tab: this.#tab, ids });
  }

  #post(message: Message): void {
    this.#tabs.postMessage(message);
  }
}

export const shown = new Shown();
