/** When people and rooms are taken and closed, as far as everybody may know it: never by what or by whom. */
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";

import type { TimeSpan } from "../../gen/appointments/v1/availability_pb.js";
import { availabilityService } from "../net/availability.ts";
import { overlap, type Span } from "../time/spans.ts";

/** Somebody's or something's time within a window, each list in order and without overlaps. */
export interface Times {
  readonly busy: readonly Span[];
  /** Outside of their hours. */
  readonly closed: readonly Span[];
}

const spansOf = (spans: readonly TimeSpan[]): Span[] =>
  spans.flatMap(({ startTime, endTime }) =>
    startTime && endTime ? [{ start: timestampMs(startTime), end: timestampMs(endTime) }] : [],
  );

/** Those of at most 50, by id or address: first those by id, then those by address, in their order. */
export async function timesOf(
  subjectIds: readonly string[],
  emails: readonly string[],
  { start, end }: Span,
): Promise<Times[]> {
  const answer = await availabilityService.queryFreeBusy({
    subjectIds: [...subjectIds],
    emails: [...emails],
    startTime: timestampFromMs(start),
    endTime: timestampFromMs(end),
    includeClosed: true,
  });
  return answer.subjects.map(({ busy, closed }) => ({ busy: spansOf(busy), closed: spansOf(closed) }));
}

/** The parts of some spans that lie within a window. */
export const cut = (spans: readonly Span[], window: Span): Span[] =>
  spans
    .filter((span) => overlap(span, window))
    .map(({ start, end }) => ({ start: Math.max(start, window.start), end: Math.min(end, window.end) }));

/** From seven to twenty o'clock, and as far beyond as something is taken: what is shown of a day. */
export function shownOf(day: Span, hours: { from: number; until: number }, all: readonly Times[]): Span {
  const busy = all.flatMap((times) => cut(times.busy, day));
  const start = Math.min(hours.from, ...busy.map((span) => span.start));
  const end = Math.max(hours.until, ...busy.map((span) => span.end));
  return { start, end };
}
