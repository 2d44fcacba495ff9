/** The heading of what is shown: "May 2030", "13–19 May 2030", "Wednesday 15 May 2030". */
import { page, weekStart } from "../../lib/calendar/cursor.ts";
import type { View } from "../../lib/settings.svelte.ts";
import { DAY } from "../../lib/time/zones.ts";

export function periodText(day: string, view: View, locale: string, firstDay: number): string {
  const format = (options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat =>
    new Intl.DateTimeFormat(locale, { timeZone: "UTC", ...options });
  const start = Date.parse(day);
  if (view === "month") return format({ month: "long", year: "numeric" }).format(start);
  if (view === "day")
    return format({ weekday: "long", day: "numeric", month: "long", year: "numeric" }).format(start);
  if (view === "week") {
    const first = Date.parse(weekStart(day, firstDay));
    return format({ day: "numeric", month: "long", year: "numeric" }).formatRange(first, first + 6 * DAY);
  }
  const next = Date.parse(page(day, "agenda", 1));
  return format({ month: "long", year: "numeric" }).formatRange(start, next);
}
