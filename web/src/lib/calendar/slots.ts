/** A search for times at which people and rooms are free. */
import { durationFromMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";

import type { SearchSlotsResponse, SlotObstacles } from "../../gen/appointments/v1/availability_pb.js";
import { availabilityService } from "../net/availability.ts";
import type { Span } from "../time/spans.ts";

const PAGE_SIZE = 50;
/** As many subjects as the server looks at. */
const MOST_SUBJECTS = 50;

/** Who has to be free, when, and for how long. */
export interface Wanted {
  readonly userId: string;
  readonly emails: readonly string[];
  /** One of these has to be free; none are needed if it is empty. */
  readonly anyOf: readonly string[];
  readonly window: Span;
  readonly length: number;
}

/** A time that can be booked, and the room that was found for it. */
export interface Offer extends Span {
  readonly resourceIds: readonly string[];
}

/** One page of them. */
export interface Offers {
  readonly offers: readonly Offer[];
  readonly nextPageToken: string;
  /** Why there are none; "" if there are some. */
  readonly why: string;
}

export async function search(
  { userId, emails, anyOf, window, length }: Wanted,
  pageToken = "",
): Promise<Offers> {
  const rooms = anyOf.slice(0, MOST_SUBJECTS - 1 - emails.length);
  const answer = await availabilityService.searchSlots({
    requirements: [
      { anyOfSubjectIds: [userId] },
      ...emails.map((email) => ({ anyOfEmails: [email] })),
      ...(rooms.length > 0 ? [{ anyOfSubjectIds: rooms }] : []),
    ],
    duration: durationFromMs(length),
    // Half an hour apart, or as long as it lasts if that is less.
    step: durationFromMs(Math.min(length, 30 * 60_000)),
    startTime: timestampFromMs(window.start),
    endTime: timestampFromMs(window.end),
    pageSize: PAGE_SIZE,
    pageToken,
  });
  return { offers: offersOf(answer, rooms), nextPageToken: answer.nextPageToken, why: whyText(answer.why) };
}

const offersOf = ({ slots }: SearchSlotsResponse, rooms: readonly string[]): Offer[] =>
  slots.flatMap(({ startTime, endTime, subjectIds }) =>
    startTime && endTime
      ? [
          {
            start: timestampMs(startTime),
            end: timestampMs(endTime),
            resourceIds: subjectIds.filter((id) => rooms.includes(id)),
          },
        ]
      : [],
  );

const REASONS = [
  ["hours", "outside of somebody’s hours"],
  ["notice", "too soon, too far ahead or past"],
  ["rules", "against the rules of a room"],
  ["busy", "taken"],
  ["buffers", "too close to something else"],
] as const;

/** What took the times away, the most of it first. */
export function whyText(why: SlotObstacles | undefined): string {
  if (!why) return "";
  const parts = REASONS.filter(([name]) => why[name] > 0)
    .sort(([one], [other]) => why[other] - why[one])
    .map(([name, text]) => `${why[name]} ${text}`);
  return `Nothing was found. Of ${why.starts} times, ${parts.join(", ")}.`;
}
