/** The attendees field: `ada@example.org` or `Ada <ada@example.org>`, one a line or parted by commas; and who is suggested. */
import type { Booked } from "./appointment.ts";

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

/** Somebody who may be suggested. */
export type Known = Pick<Person, "email" | "displayName">;

/** So many are suggested at once. */
const SUGGESTED = 6;

/** The form in which two spellings of one address are equal, as the server has it. */
export const fold = (email: string): string => email.trim().toLowerCase();

/** One person as text. A name with signs of this format is put into quotes. */
export function formatPerson({ email, displayName }: Known): string {
  if (!displayName) return email;
  const name = /[,;<>"\\]/.test(displayName) ? `"${displayName.replace(/["\\]/g, "\\$&")}"` : displayName;
  return `${name} <${email}>`;
}

/** One person a line. */
export function formatPeople(people: readonly Known[]): string {
  return people.map(formatPerson).join("\n");
}

// What is in quotes or in angle brackets is of one piece; a quote or bracket that is never closed is a sign like others.
const PIECE = /"(?:[^"\\\n]|\\.)*"|<[^<>\n]*>|[\n,;]|[^"<\n,;]+|["<]/g;

/** What was typed or pasted, one entry for each person. */
export function entriesOf(text: string): string[] {
  const entries = [""];
  for (const [piece] of text.matchAll(PIECE)) {
    if (/^[\n,;]$/.test(piece)) entries.push("");
    else entries.push((entries.pop() ?? "") + piece);
    if (/^<.*>$/.test(piece)) entries.push("");
  }
  return entries.flatMap(apart).filter(Boolean);
}

/** Addresses that nothing but spaces parts. */
function apart(entry: string): string[] {
  const words = entry.trim().split(/\s+/);
  return words.every((word) => /^[^<>"]+@[^<>"]+$/.test(word)) ? words : [entry.trim()];
}

/** What an entry says. */
export function personOf(entry: string): Known {
  const named = /^(.*?)\s*<([^<>]*)>$/.exec(entry);
  const name = named?.[1] ?? "";
  const quoted = /^"((?:[^"\\]|\\.)*)"$/.exec(name);
  return {
    email: (named?.[2] ?? entry).trim(),
    displayName: quoted?.[1]?.replace(/\\(.)/g, "$1") ?? name,
  };
}

/** What was typed as people; whoever was there before keeps their answer. */
export function parsePeople(text: string, before: readonly Person[]): Person[] {
  return entriesOf(text).map((entry) => {
    const { email, displayName } = personOf(entry);
    const known = before.find((person) => fold(person.email) === fold(email));
    const comment = known?.comment ? { comment: known.comment } : {};
    const undelivered = known?.undelivered ? { undelivered: known.undelivered } : {};
    return { email, displayName, response: known?.response ?? 0, ...comment, ...undelivered };
  });
}

/** Why nobody can be written to at this address, as far as it shows without asking the server; "" if nothing shows. */
export function addressProblem(email: string): string {
  const [local = "", domain = "", ...more] = email.split("@");
  if (email === "") return "has no address";
  if (!email.includes("@")) return "is not an address: it has no @";
  if (more.length > 0) return "has more than one @";
  if (local === "" || domain === "") return `has nothing ${local === "" ? "before" : "after"} the @`;
  if (/[\s<>"(),:;[\]\\]/.test(email)) return "has signs that an address cannot have";
  if (!domain.includes("."))
    return "ends too early: after the @ comes a name with a dot, such as example.org";
  if (/^\.|\.\.|\.$/.test(local) || /^\.|\.\.|\.$/.test(domain)) return "has a dot in the wrong place";
  return "";
}

/** What is wrong with the people, a sentence each. */
export function peopleProblems(people: readonly Known[]): string[] {
  return people.flatMap((person, index) => {
    const problem = addressProblem(person.email);
    if (problem) return `“${person.email || formatPerson(person)}” ${problem}.`;
    const isTwice = people.slice(0, index).some(({ email }) => fold(email) === fold(person.email));
    return isTwice ? `“${person.email}” is there already.` : [];
  });
}

/** The people of appointments that the person may see, except themselves: those met most often first. */
export function peopleOf(appointments: readonly Booked[], own: string): Known[] {
  const met = new Map<string, Known & { times: number; last: number }>();
  for (const { attendees, organizer, start } of appointments) {
    const guests = attendees.filter(({ email }) => email && !addressProblem(email));
    const host = organizer?.email ? [{ email: organizer.email, displayName: organizer.name }] : [];
    for (const { email, displayName } of [...guests, ...host]) {
      const before = met.get(fold(email));
      const isNewer = !before || (start >= before.last && displayName !== "");
      met.set(fold(email), {
        email: before?.email ?? email,
        displayName: isNewer ? displayName : before.displayName || displayName,
        times: (before?.times ?? 0) + 1,
        last: Math.max(before?.last ?? start, start),
      });
    }
  }
  met.delete(fold(own));
  return [...met.values()]
    .sort((one, other) => other.times - one.times || other.last - one.last)
    .map(({ email, displayName }) => ({ email, displayName }));
}

const plain = (text: string): string => text.normalize("NFD").replace(/\p{M}/gu, "").toLocaleLowerCase();

/** Those whose name or address has words that begin with what is typed, without those who are invited already. */
export function suggestions(known: readonly Known[], typed: string, invited: readonly Known[]): Known[] {
  const there = new Set(invited.map(({ email }) => fold(email)));
  const wanted = plain(typed).split(/\s+/).filter(Boolean);
  return known
    .filter(({ email, displayName }) => {
      if (there.has(fold(email))) return false;
      const words = plain(`${displayName} ${email}`).split(/[^\p{L}\p{N}]+/u);
      const whole = plain(email);
      return wanted.every((word) => whole.startsWith(word) || words.some((each) => each.startsWith(word)));
    })
    .slice(0, SUGGESTED);
}
