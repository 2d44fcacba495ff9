/** When people and rooms are taken and closed, as far as everybody may know it: never by what or by whom. */
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";

import type { TimeSpan } from "../../gen/appointments/v1/availability_pb.js";
import { availabilityService } from "../net/availability.ts";
import type { Span } from "../time/spans.ts";

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
