/** How times are said: in a zone, by the locale's habits, with a 12- or 24-hour clock. */
import { dayOf, wallAt } from "./zones.ts";

/** A locale, a zone and whether the clock has 12 hours. */
export interface TimeStyle {
  readonly locale: string;
  readonly zone: string;
  readonly hour12: boolean;
}

/** "2:30 PM" or "14:30", and "02:30": every hour of a 24-hour clock is as wide. */
export const clockOf = (hour12: boolean): Intl.DateTimeFormatOptions =>
  hour12 ? { hour: "numeric", hour12 } : { hour: "2-digit", hourCycle: "h23" };

const formats = new Map<string, Intl.DateTimeFormat>();

function format(timeStyle: TimeStyle, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = JSON.stringify([timeStyle, options]);
  let found = formats.get(key);
  if (!found) {
    const clock: Intl.DateTimeFormatOptions = options.hour ? clockOf(timeStyle.hour12) : {};
    found = new Intl.DateTimeFormat(timeStyle.locale, { timeZone: timeStyle.zone, ...options, ...clock });
    formats.set(key, found);
  }
  return found;
}

/** "14:30" or "2:30 PM" */
export const timeText = (instant: number, timeStyle: TimeStyle): string =>
  format(timeStyle, { hour: "numeric", minute: "2-digit" }).format(instant);

/** "Wed, 12 March" */
export const dayText = (instant: number, timeStyle: TimeStyle): string =>
  format(timeStyle, { weekday: "short", day: "numeric", month: "long" }).format(instant);

/** "Wednesday, 12 March 2025" */
export const longDayText = (instant: number, timeStyle: TimeStyle): string =>
  format(timeStyle, { weekday: "long", day: "numeric", month: "long", year: "numeric" }).format(instant);

/** "12 March 2025, 14:30" */
export const momentText = (instant: number, timeStyle: TimeStyle): string =>
  format(timeStyle, {
    day: "numeric",
    month: "long",
    year: "numeric",
    hour: "numeric",
    minute: "2-digit",
  }).format(instant);

/** "14:30 – 15:00", with the days where they are not the same */
export function spanText(start: number, end: number, timeStyle: TimeStyle): string {
  const sameDay = dayOf(wallAt(start, timeStyle.zone)) === dayOf(wallAt(end - 1, timeStyle.zone));
  if (sameDay) return `${timeText(start, timeStyle)} – ${timeText(end, timeStyle)}`;
  return `${dayText(start, timeStyle)}, ${timeText(start, timeStyle)} – ${dayText(end, timeStyle)}, ${timeText(end, timeStyle)}`;
}

/** "Wed, 12 March, 14:30 – 15:00" */
export function spanWithDayText(start: number, end: number, timeStyle: TimeStyle): string {
  const span = spanText(start, end, timeStyle);
  return span.startsWith(dayText(start, timeStyle)) ? span : `${dayText(start, timeStyle)}, ${span}`;
}

/** "15 min", "1 h", "1.5 h" */
export function lengthText(minutes: number): string {
  return minutes < 60 ? `${minutes} min` : `${minutes / 60} h`;
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
