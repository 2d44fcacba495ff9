/** What a conflict is with, in words. */
import type { Span } from "../time/spans.ts";
import { spanText, spanWithDayText, type TimeStyle } from "../time/format.ts";
import { dayOf, wallAt } from "../time/zones.ts";

/** Something that is in the way; without a title where the page could not learn it. */
export interface Obstacle extends Span {
  readonly id: string;
  readonly title: string | null;
}

function obstacleText(obstacle: Obstacle, wanted: Span, timeStyle: TimeStyle): string {
  const name = obstacle.title === null ? "another appointment" : `“${obstacle.title}”`;
  const sameDay =
    dayOf(wallAt(obstacle.start, timeStyle.zone)) === dayOf(wallAt(wanted.start, timeStyle.zone));
  const span = (sameDay ? spanText : spanWithDayText)(obstacle.start, obstacle.end, timeStyle);
  return `${name} (${span})`;
}

/** "This time overlaps “Review” (10:30 – 11:30) and 2 more." */
export function conflictText(obstacles: readonly Obstacle[], wanted: Span, timeStyle: TimeStyle): string {
  if (obstacles.length === 0) return "This time is already taken.";
  const named = obstacles.slice(0, 2).map((obstacle) => obstacleText(obstacle, wanted, timeStyle));
  const more = obstacles.length - named.length;
  if (more > 0) named.push(`${more} more`);
  return `This time overlaps ${new Intl.ListFormat("en").format(named)}.`;
}
