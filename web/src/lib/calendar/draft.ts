/** What a person is typing in the editor, and how it becomes an appointment's fields. */
import { PLAIN, type Booked, type Spec } from "./appointment.ts";
import { formatPeople, parsePeople, peopleProblems } from "./attendees.ts";
import type { BadField } from "../net/faults.ts";
import { dayAfter, instantOf, MINUTE, minuteOf, moved, wallAt, wallOf } from "../time/zones.ts";

export interface Draft {
  /** What is being changed; null for something new. */
  base: Booked | null;
  title: string;
  /** Wall times in `timeZone`, to the minute. A day or a time that could not be read is left out: "T09:30". */
  starts: string;
  ends: string;
  timeZone: string;
  location: string;
  description: string;
  people: string;
  resourceIds: string[];
  /** Minutes. */
  bufferBefore: number;
  bufferAfter: number;
  free: boolean;
  /** Then `starts` and `ends` are midnights, and the last day is the one before `ends`. */
  allDay: boolean;
  /** Minutes before the start; null: as the account says. */
  reminders: number[] | null;
  /** The rule by which it repeats; "" if it does not. */
  rule: string;
}

const toMinute = (instant: number, zone: string): string => wallAt(instant, zone).slice(0, 16);

/** Something new at that time. */
export function blank(start: number, end: number, timeZone: string): Draft {
  const times = { starts: toMinute(start, timeZone), ends: toMinute(end, timeZone), timeZone };
  const texts = { title: "", location: "", description: "", people: "" };
  return { base: null, ...texts, ...times, ...PLAIN, resourceIds: [], rule: "" };
}

/** Whole days, the last one included. */
export function blankDays(first: string, last: string, timeZone: string): Draft {
  const times = { starts: `${first}T00:00`, ends: `${dayAfter(last, 1)}T00:00` };
  return { ...blank(0, 0, timeZone), ...times, allDay: true };
}

/** What is booked, to be changed. */
export function draftOf(base: Booked): Draft {
  const { title, timeZone, location, description } = base;
  return {
    base,
    title,
    ...wallsOf(base, timeZone),
    timeZone,
    location,
    description,
    people: formatPeople(base.attendees),
    resourceIds: [...base.resourceIds],
    bufferBefore: Math.round(base.bufferBefore / MINUTE),
    bufferAfter: Math.round(base.bufferAfter / MINUTE),
    free: base.free,
    allDay: base.allDay,
    reminders: base.reminders && [...base.reminders],
    rule: "",
  };
}

const wallsOf = ({ start, end }: Spec, zone: string): { starts: string; ends: string } => ({
  starts: toMinute(start, zone),
  ends: toMinute(end, zone),
});

/** The instant of a wall time; one that was not touched stays as it is booked, seconds and second 02:30 included. */
function instant(wall: string, draft: Draft, booked: number | undefined): number {
  if (
    booked !== undefined &&
    draft.base?.timeZone === draft.timeZone &&
    toMinute(booked, draft.timeZone) === wall
  ) {
    return booked;
  }
  return isWhole(wall) ? instantOf(wall, draft.timeZone) : NaN;
}

/** Whether both the day and the time are there. */
export const isWhole = (wall: string): boolean => wall.length === 16;

/** The day and the minutes since midnight; null for what is left out. */
export function partsOf(wall: string): { day: string | null; minute: number | null } {
  const [day = "", time = ""] = wall.split("T");
  return { day: day || null, minute: time ? minuteOf(`T${time}`.padStart(16)) : null };
}

/** The other way round; 1440 minutes and more are on the next day. */
export function wallOfParts(day: string | null, minute: number | null): string {
  if (day !== null && minute !== null) return wallOf(day, minute).slice(0, 16);
  return `${day ?? ""}T${minute === null ? "" : wallOf("2000-01-01", minute).slice(11, 16)}`;
}

/** The draft's times with another start. The end goes along, so that the appointment stays as long as it is. */
export function withStart(
  { starts, ends }: Pick<Draft, "starts" | "ends">,
  wanted: string,
): {
  starts: string;
  ends: string;
} {
  const length = (Date.parse(`${ends}Z`) - Date.parse(`${starts}Z`)) / MINUTE;
  const along = isWhole(starts) && isWhole(ends) && isWhole(wanted) && length > 0;
  return { starts: wanted, ends: along ? moved(wanted, { minutes: length }).slice(0, 16) : ends };
}

/** The draft's times with or without hours. Whole days are those that it touches; hours begin at nine. */
export function withAllDay(
  { starts, ends }: Pick<Draft, "starts" | "ends">,
  allDay: boolean,
): {
  starts: string;
  ends: string;
} {
  const { day } = partsOf(starts);
  if (day === null) return { starts, ends };
  if (!allDay) return { starts: `${day}T09:00`, ends: `${day}T10:00` };
  const last = isWhole(ends) && ends > starts ? moved(ends, { minutes: -1 }).slice(0, 10) : day;
  return { starts: `${day}T00:00`, ends: `${dayAfter(last, 1)}T00:00` };
}

/** Minutes that were not touched stay as they are booked, seconds included. */
const buffer = (minutes: number, booked = 0): number =>
  Math.round(booked / MINUTE) === minutes ? booked : minutes * MINUTE;

/** What the draft asks for. */
export function specOf(draft: Draft): Spec {
  return {
    title: draft.title.trim(),
    start: instant(draft.starts, draft, draft.base?.start),
    end: instant(draft.ends, draft, draft.base?.end),
    timeZone: draft.timeZone,
    location: draft.location.trim(),
    description: draft.description,
    attendees: parsePeople(draft.people, draft.base?.attendees ?? []),
    // What takes no time takes no rooms either.
    resourceIds: draft.free ? [] : [...draft.resourceIds],
    bufferBefore: draft.free ? 0 : buffer(draft.bufferBefore, draft.base?.bufferBefore),
    bufferAfter: draft.free ? 0 : buffer(draft.bufferAfter, draft.base?.bufferAfter),
    free: draft.free,
    allDay: draft.allDay,
    reminders: draft.reminders && [...draft.reminders],
  };
}

/** The fields of the editor. */
export type FieldName =
  | "title"
  | "starts"
  | "ends"
  | "timeZone"
  | "location"
  | "description"
  | "people"
  | "resources"
  | "buffers"
  | "reminders"
  | "repeat";

const FIELD_OF: Readonly<Record<string, FieldName>> = {
  title: "title",
  start_time: "starts",
  end_time: "ends",
  time_zone: "timeZone",
  location: "location",
  description: "description",
  attendees: "people",
  resource_ids: "resources",
  buffer_before: "buffers",
  buffer_after: "buffers",
  all_day: "starts",
  reminders: "reminders",
  no_reminders: "reminders",
  recurrence_rule: "repeat",
};

/** What can be told without asking the server. */
export function validate(spec: Spec): Partial<Record<FieldName, string>> {
  const found: Partial<Record<FieldName, string>> = {};
  if (spec.title === "") found.title = "Please give it a title.";
  if (Number.isNaN(spec.start)) found.starts = "Please type a day and a time, such as 16 May and 9:30.";
  if (Number.isNaN(spec.end)) found.ends = "Please type a day and a time, such as 16 May and 9:30.";
  else if (spec.end <= spec.start) found.ends = "The end must be after the start.";
  const people = peopleProblems(spec.attendees).join(" ");
  if (people) found.people = people;
  return found;
}

/** The server's validate, by field of the editor; those of no field under "other". */
export function serverErrors(fields: readonly BadField[]): Partial<Record<FieldName | "other", string>> {
  const found: Partial<Record<FieldName | "other", string>> = {};
  for (const { field, description } of fields) {
    const name = FIELD_OF[field.replace(/^(appointment|series)\./, "").replace(/[[.].*$/, "")] ?? "other";
    found[name] = found[name] ? `${found[name]} ${description}` : description;
  }
  return found;
}
