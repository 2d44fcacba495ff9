/** What a conflict is with, in words. */
import type { Span } from "../time/spans.ts";
import { spanText, spanWithDayText, type TimeStyle } from "../time/format.ts";
import { dayOf, wallAt } from "../time/zones.ts";

/** An appointment that is in the way; without a title where the page could not learn it. */
export interface Obstacle extends Span {
  readonly id: string;
  readonly title: string | null;
}

/** Everything that is in the way: one's own appointments, and the names of rooms and equipment that are taken. */
export interface Obstacles {
  readonly appointments: readonly Obstacle[];
  readonly resources: readonly string[];
}

function obstacleText(obstacle: Obstacle, wanted: Span, timeStyle: TimeStyle): string {
  const name = obstacle.title === null ? "another appointment" : `“${obstacle.title}”`;
  const sameDay =
    dayOf(wallAt(obstacle.start, timeStyle.zone)) === dayOf(wallAt(wanted.start, timeStyle.zone));
  const span = (sameDay ? spanText : spanWithDayText)(obstacle.start, obstacle.end, timeStyle);
  return `${name} (${span})`;
}

const list = new Intl.ListFormat("en");

/** "This time overlaps “Review” (10:30 – 11:30) and 2 more. “Studio” is taken at this time." */
export function conflictText(
  { appointments, resources }: Obstacles,
  wanted: Span,
  timeStyle: TimeStyle,
): string {
  const sentences: string[] = [];
  if (appointments.length > 0) {
    const named = appointments.slice(0, 2).map((obstacle) => obstacleText(obstacle, wanted, timeStyle));
    const more = appointments.length - named.length;
    if (more > 0) named.push(`${more} more`);
    sentences.push(`This time overlaps ${list.format(named)}.`);
  }
  if (resources.length > 0) {
    const named = list.format(resources.map((name) => `“${name}”`));
    sentences.push(`${named} ${resources.length === 1 ? "is" : "are"} taken at this time.`);
  }
  return sentences.join(" ") || "This time is already taken.";
}
