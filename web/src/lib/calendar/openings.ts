/** Hours as a person types them: "9:00 – 12:00, 13:00 – 17:00" for each day. */
import type { Hours } from "../../gen/appointments/v1/resources_pb.js";
import type { TimeStyle } from "../time/format.ts";
import { readTime, writeTime } from "../time/typed.ts";
import type { Opened, Opening } from "./hours.ts";

/** Monday first. */
export const WEEKDAYS = [1, 2, 3, 4, 5, 6, 7] as const;

/** A date with hours of its own, as typed. */
export interface TypedDate {
  readonly date: string;
  text: string;
}

/** The spans of a day in order; none for "". Null for what cannot be read, ends before it starts, or overlaps. */
export function readOpenings(text: string, locale: string): Opening[] | null {
  if (text.trim() === "") return [];
  const found: Opening[] = [];
  for (const part of text.split(/[,;]/)) {
    const [from = "", until = "", ...more] = part.split(/\s*(?:[-–—]|\bto\b)\s*/u);
    const start = readTime(from, locale);
    // Midnight is the end of a day where something ends.
    const end = /^24([:.]00)?$/.test(until.trim()) ? 1440 : readTime(until, locale);
    if (start === null || end === null || more.length > 0 || start >= (end || 1440)) return null;
    found.push({ start, end: end || 1440 });
  }
  found.sort((a, b) => a.start - b.start);
  return found.some(({ start }, index) => start < (found[index - 1]?.end ?? 0)) ? null : found;
}

/** The other way round. */
export const writeOpenings = (openings: readonly Opening[], style: TimeStyle): string =>
  openings.map(({ start, end }) => `${writeTime(start, style)} – ${writeTime(end % 1440, style)}`).join(", ");

const spansOf = (days: Hours["week"]): Opening[] =>
  days
    .map(({ startMinute, endMinute }) => ({ start: startMinute, end: endMinute }))
    .sort((a, b) => a.start - b.start);

/** What the fields of the weekdays show. */
export const typedWeek = (hours: Opened | undefined, style: TimeStyle): string[] =>
  WEEKDAYS.map((each) =>
    writeOpenings(spansOf((hours?.week ?? []).filter(({ weekday }) => weekday === each)), style),
  );

/** What the fields of the dates show. */
export const typedDates = (hours: Opened | undefined, style: TimeStyle): TypedDate[] =>
  (hours?.specialDays ?? [])
    .map(({ date, hours: spans }) => ({ date, text: writeOpenings(spansOf(spans), style) }))
    .sort((a, b) => a.date.localeCompare(b.date));

const toMessages = (
  openings: readonly Opening[],
  weekday: number,
): { weekday: number; startMinute: number; endMinute: number }[] =>
  openings.map(({ start, end }) => ({ weekday, startMinute: start, endMinute: end }));

/** The hours of these fields, which can all be read. */
export function hoursOf(week: readonly string[], dates: readonly TypedDate[], locale: string): HoursInit {
  const read = (text: string): Opening[] => readOpenings(text, locale) ?? [];
  return {
    week: WEEKDAYS.flatMap((weekday, index) => toMessages(read(week[index] ?? ""), weekday)),
    specialDays: dates.map(({ date, text }) => ({ date, hours: toMessages(read(text), 0) })),
  };
}

/** Hours as a request has them. */
export interface HoursInit {
  week: { weekday: number; startMinute: number; endMinute: number }[];
  specialDays: { date: string; hours: HoursInit["week"] }[];
}
