/** To whom letters go after a change, as the server decides it: who comes, who goes, and all if what they were told differs. */
import type { Spec } from "./appointment.ts";

/** What attendees are told of an appointment. */
const TOLD = ["title", "start", "end", "timeZone", "allDay", "location", "description"] as const;

export interface Letters {
  /** Who is invited by this change. */
  readonly invited: number;
  /** Who is written to because of it, those included. */
  readonly writtenTo: number;
}

export const NOBODY: Letters = { invited: 0, writtenTo: 0 };

type Facts = Pick<Spec, (typeof TOLD)[number] | "attendees">;

/** `before` is null for something new. `own` is the organizer's address, who is not written to. */
export function lettersOf(before: Facts | null, now: Facts, own: string, isRuleChanged = false): Letters {
  const guests = (of: Facts | null): Set<string> => {
    const addresses = new Set(of?.attendees.map(({ email }) => email.trim().toLowerCase()));
    addresses.delete(own.toLowerCase());
    return addresses;
  };
  const [were, are] = [guests(before), guests(now)];
  const come = [...are].filter((email) => !were.has(email)).length;
  const go = [...were].filter((email) => !are.has(email)).length;
  const differs = before !== null && (isRuleChanged || TOLD.some((name) => before[name] !== now[name]));
  return { invited: come, writtenTo: (differs ? are.size : come) + go };
}

/** What is said of it after saving, with a space before; "" if nobody is written to. */
export function sentText({ invited, writtenTo }: Letters, mail: "yes" | "later" | "no"): string {
  if (mail === "yes")
    return writtenTo > 0 ? ` Sent to ${writtenTo} ${writtenTo > 1 ? "people" : "person"}.` : "";
  if (invited === 0) return "";
  return mail === "later"
    ? ` ${invited} invited, who get mail once you have confirmed your address.`
    : ` ${invited} invited.`;
}
