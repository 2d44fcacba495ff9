/** Where an arrow key leads from a day, and in a time grid from a time of it. */
import type { View } from "../settings.svelte.ts";
import { dayAfter } from "../time/zones.ts";

export interface Cursor {
  /** "YYYY-MM-DD" */
  readonly day: string;
  /** Minutes since midnight. */
  readonly minute: number;
  /** The length of what Enter would book, in minutes. */
  readonly span: number;
}

export const STEP = 30;
const LAST = 24 * 60 - STEP;

/** The same day of another month, or that month's last. */
export function monthAfter(day: string, months: number): string {
  const [year = 0, month = 1, date = 1] = day.split("-").map(Number);
  const length = new Date(Date.UTC(year, month + months, 0)).getUTCDate();
  return new Date(Date.UTC(year, month - 1 + months, Math.min(date, length))).toISOString().slice(0, 10);
}

/** The same place one view later or earlier. */
export function page(day: string, view: View, direction: 1 | -1): string {
  if (view === "week") return dayAfter(day, 7 * direction);
  if (view === "day") return dayAfter(day, direction);
  return monthAfter(day, direction);
}

const weekday = (day: string, firstDay: number): number => (new Date(day).getUTCDay() - firstDay + 7) % 7;

/** The first day of the week that the day is in. */
export const weekStart = (day: string, firstDay: number): string => dayAfter(day, -weekday(day, firstDay));

/** Where a key leads; null if it leads nowhere. */
export function step(
  cursor: Cursor,
  key: string,
  shift: boolean,
  view: View,
  firstDay: number,
): Cursor | null {
  const to = (day: string): Cursor => ({ ...cursor, day });
  const grid = view === "week" || view === "day";
  const clamp = (minute: number): number => Math.min(LAST, Math.max(0, minute));
  switch (key) {
    case "ArrowLeft":
      return to(dayAfter(cursor.day, -1));
    case "ArrowRight":
      return to(dayAfter(cursor.day, 1));
    case "PageUp":
      return to(page(cursor.day, view, -1));
    case "PageDown":
      return to(page(cursor.day, view, 1));
    case "ArrowUp":
      if (!grid) return to(dayAfter(cursor.day, -7));
      if (shift) return { ...cursor, span: Math.max(STEP, cursor.span - STEP) };
      return { ...cursor, minute: clamp(cursor.minute - STEP) };
    case "ArrowDown":
      if (!grid) return to(dayAfter(cursor.day, 7));
      if (shift) return { ...cursor, span: Math.min(24 * 60 - cursor.minute, cursor.span + STEP) };
      return { ...cursor, minute: clamp(cursor.minute + STEP) };
    case "Home":
      return grid ? { ...cursor, minute: 0 } : to(weekStart(cursor.day, firstDay));
    case "End":
      return grid ? { ...cursor, minute: LAST } : to(dayAfter(weekStart(cursor.day, firstDay), 6));
    default:
      return null;
  }
}
