/** What people answer to an invitation, in words. */
import { AttendeeResponse } from "../../gen/appointments/v1/appointments_pb.js";

/** The answers that can be given, in the order in which they are offered. */
export const ANSWERS: readonly (readonly [AttendeeResponse, string])[] = [
  [AttendeeResponse.ACCEPTED, "Accept"],
  [AttendeeResponse.TENTATIVE, "Maybe"],
  [AttendeeResponse.DECLINED, "Decline"],
];

/** "accepted", or that somebody has not answered. */
export function answerText(answer: AttendeeResponse): string {
  switch (answer) {
    case AttendeeResponse.ACCEPTED:
      return "accepted";
    case AttendeeResponse.TENTATIVE:
      return "maybe";
    case AttendeeResponse.DECLINED:
      return "declined";
    default:
      return "not answered";
  }
}
