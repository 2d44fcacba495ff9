/** What a person is typing in the editor, and how it becomes a plan. */
import type { Booked, Plan } from "./appointment.ts";
import { formatPeople, parsePeople } from "./attendees.ts";
import type { BadField } from "./faults.ts";
import { instantOf, wallAt } from "./zones.ts";

export interface Draft {
  /** What is being changed; null for something new. */
  base: Booked | null;
  title: string;
  /** Wall times in `timeZone`, to the minute, as `datetime-local` wants them. */
  starts: string;
  ends: string;
  timeZone: string;
  location: string;
  description: string;
  people: string;
}

const toMinute = (instant: number, zone: string): string => wallAt(instant, zone).slice(0, 16);

/** Something new at that time. */
export function blank(start: number, end: number, timeZone: string): Draft {
  const times = { starts: toMinute(start, timeZone), ends: toMinute(end, timeZone), timeZone };
  return { base: null, title: "", ...times, location: "", description: "", people: "" };
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
  };
}

const wallsOf = ({ start, end }: Plan, zone: string): { starts: string; ends: string } => ({
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
  return wall ? instantOf(wall, draft.timeZone) : NaN;
}

/** What the draft asks for. */
export function planOf(draft: Draft): Plan {
  return {
    title: draft.title.trim(),
    start: instant(draft.starts, draft, draft.base?.start),
    end: instant(draft.ends, draft, draft.base?.end),
    timeZone: draft.timeZone,
    location: draft.location.trim(),
    description: draft.description,
    attendees: parsePeople(draft.people, draft.base?.attendees ?? []),
  };
}

/** The fields of the editor. */
export type FieldName = "title" | "starts" | "ends" | "timeZone" | "location" | "description" | "people";

const FIELD_OF: Readonly<Record<string, FieldName>> = {
  title: "title",
  start_time: "starts",
  end_time: "ends",
  time_zone: "timeZone",
  location: "location",
  description: "description",
  attendees: "people",
};

/** What can be told without asking the server. */
export function complaints(plan: Plan): Partial<Record<FieldName, string>> {
  const found: Partial<Record<FieldName, string>> = {};
  if (plan.title === "") found.title = "Please give it a title.";
  if (Number.isNaN(plan.start)) found.starts = "Please say when it starts.";
  if (Number.isNaN(plan.end)) found.ends = "Please say when it ends.";
  else if (plan.end <= plan.start) found.ends = "This must be after the start.";
  return found;
}

/** The server's complaints, by field of the editor; those of no field under "other". */
export function refusals(fields: readonly BadField[]): Partial<Record<FieldName | "other", string>> {
  const found: Partial<Record<FieldName | "other", string>> = {};
  for (const { field, description } of fields) {
    const name = FIELD_OF[field.replace(/^appointment\./, "").replace(/[[.].*$/, "")] ?? "other";
    found[name] = found[name] ? `${found[name]} ${description}` : description;
  }
  return found;
}
