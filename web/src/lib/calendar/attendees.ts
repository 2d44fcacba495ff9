/** The attendees field: one person a line, or parted by commas, as `ada@example.org` or `Ada <ada@example.org>`. */

/** Somebody invited; `response` is the contract's AttendeeResponse. */
export interface Person {
  readonly email: string;
  readonly displayName: string;
  readonly response: number;
  /** What they said with it. */
  readonly comment?: string;
  /** Mail about it did not reach them. */
  readonly undelivered?: true;
}

/** One person a line. */
export function formatPeople(people: readonly Person[]): string {
  return people
    .map(({ email, displayName }) => (displayName ? `${displayName} <${email}>` : email))
    .join("\n");
}

/** What was typed as people; whoever was there before keeps their answer. */
export function parsePeople(text: string, before: readonly Person[]): Person[] {
  return text
    .split(/[\n,;]+/)
    .map((entry) => entry.trim())
    .filter(Boolean)
    .map((entry) => {
      const named = /^(.*?)\s*<([^<>]*)>$/.exec(entry);
      const email = (named?.[2] ?? entry).trim();
      const displayName = (named?.[1] ?? "").replace(/^"(.*)"$/, "$1");
      const known = before.find((person) => person.email.toLowerCase() === email.toLowerCase());
      const comment = known?.comment ? { comment: known.comment } : {};
      const undelivered = known?.undelivered ? { undelivered: known.undelivered } : {};
      return { email, displayName, response: known?.response ?? 0, ...comment, ...undelivered };
    });
}
