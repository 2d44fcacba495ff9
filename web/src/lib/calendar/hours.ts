/** When somebody or something is open, week by week on the wall clock of its zone, and when it is closed. */
import type { Hours } from "../../gen/appointments/v1/resources_pb.js";
import type { Span } from "../time/spans.ts";
import { dayAfter, dayOf, instantOf, wallAt, wallOf } from "../time/zones.ts";

/** Minutes since midnight; the end may be 1440. */
export interface Opening {
  readonly start: number;
  readonly end: number;
}

/** What decides when it is open. */
export type Opened = Pick<Hours, "week" | "specialDays">;

const WHOLE_DAY: Opening = { start: 0, end: 1440 };

/** From 1, Monday, to 7, Sunday. */
const weekdayOf = (day: string): number => new Date(day).getUTCDay() || 7;

/** When it is open on a day, in order. A week without any hours is open all the time. */
export function openingsOn({ week, specialDays }: Opened, day: string): Opening[] {
  const special = specialDays.find(({ date }) => date === day);
  if (!special && week.length === 0) return [WHOLE_DAY];
  const spans = special ? special.hours : week.filter(({ weekday }) => weekday === weekdayOf(day));
  return spans
    .map(({ startMinute, endMinute }) => ({ start: startMinute, end: endMinute }))
    .sort((a, b) => a.start - b.start);
}

/** The parts of a window in which it is closed, in order. */
export function closed(hours: Opened | undefined, zone: string, { start, end }: Span): Span[] {
  if (!hours || hours.week.length + hours.specialDays.length === 0) return [];
  const found: Span[] = [];
  let since = start;
  const last = dayOf(wallAt(end, zone));
  for (let day = dayOf(wallAt(start, zone)); day <= last; day = dayAfter(day, 1)) {
    for (const opening of openingsOn(hours, day)) {
      const opens = Math.min(end, instantOf(wallOf(day, opening.start), zone));
      if (opens > since) found.push({ start: since, end: opens });
      since = Math.max(since, instantOf(wallOf(day, opening.end), zone));
    }
  }
  return since < end ? [...found, { start: since, end }] : found;
}
