/** How times are said: in a zone, by the locale's habits, with a 12- or 24-hour clock. */
import { dayOf, wallAt } from "./zones.ts";

/** A locale, a zone and whether the clock has 12 hours. */
export interface Manner {
  readonly locale: string;
  readonly zone: string;
  readonly hour12: boolean;
}

/** "2:30 PM" or "14:30", and "02:30": every hour of a 24-hour clock is as wide. */
export const clockOf = (hour12: boolean): Intl.DateTimeFormatOptions =>
  hour12 ? { hour: "numeric", hour12 } : { hour: "2-digit", hourCycle: "h23" };

const formats = new Map<string, Intl.DateTimeFormat>();

function format(manner: Manner, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = JSON.stringify([manner, options]);
  let found = formats.get(key);
  if (!found) {
    const clock: Intl.DateTimeFormatOptions = options.hour ? clockOf(manner.hour12) : {};
    found = new Intl.DateTimeFormat(manner.locale, { timeZone: manner.zone, ...options, ...clock });
    formats.set(key, found);
  }
  return found;
}

/** "14:30" or "2:30 PM" */
export const timeText = (instant: number, manner: Manner): string =>
  format(manner, { hour: "numeric", minute: "2-digit" }).format(instant);

/** "Wed, 12 March" */
export const dayText = (instant: number, manner: Manner): string =>
  format(manner, { weekday: "short", day: "numeric", month: "long" }).format(instant);

/** "Wednesday, 12 March 2025" */
export const longDayText = (instant: number, manner: Manner): string =>
  format(manner, { weekday: "long", day: "numeric", month: "long", year: "numeric" }).format(instant);

/** "12 March 2025, 14:30" */
export const momentText = (instant: number, manner: Manner): string =>
  format(manner, {
    day: "numeric",
    month: "long",
    year: "numeric",
    hour: "numeric",
    minute: "2-digit",
  }).format(instant);

/** "14:30 – 15:00", with the days where they are not the same */
export function spanText(start: number, end: number, manner: Manner): string {
  const sameDay = dayOf(wallAt(start, manner.zone)) === dayOf(wallAt(end - 1, manner.zone));
  if (sameDay) return `${timeText(start, manner)} – ${timeText(end, manner)}`;
  return `${dayText(start, manner)}, ${timeText(start, manner)} – ${dayText(end, manner)}, ${timeText(end, manner)}`;
}

/** "Wed, 12 March, 14:30 – 15:00" */
export function spanWithDayText(start: number, end: number, manner: Manner): string {
  const span = spanText(start, end, manner);
  return span.startsWith(dayText(start, manner)) ? span : `${dayText(start, manner)}, ${span}`;
}

/** 0 is Sunday. */
export type Weekday = 0 | 1 | 2 | 3 | 4 | 5 | 6;

/** The first day of the week where this locale is spoken. */
export function firstDayOf(locale: string): Weekday {
  type WithWeek = Intl.Locale & { getWeekInfo?(): { firstDay: number }; weekInfo?: { firstDay: number } };
  const described = new Intl.Locale(locale) as WithWeek;
  // Without the information the rule of ISO 8601 holds.
  return ((described.getWeekInfo?.() ?? described.weekInfo ?? { firstDay: 1 }).firstDay % 7) as Weekday;
}

/** Whether the locale's clock has 12 hours. */
export const hour12Of = (locale: string): boolean =>
  new Intl.DateTimeFormat(locale, { hour: "numeric" }).resolvedOptions().hour12 ?? false;
