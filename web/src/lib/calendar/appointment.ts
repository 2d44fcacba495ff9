/** An appointment as the page handles it: plain values, instants in milliseconds. */
import { create } from "@bufbuild/protobuf";
import { durationFromMs, durationMs, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";

import {
  AppointmentSchema,
  AttendeeDelivery,
  AttendeeResponse,
  AttendeeSchema,
  Role,
  Transparency,
  type Appointment,
} from "../../gen/appointments/v1/appointments_pb.js";
import type { Span } from "../time/spans.ts";
import type { Person } from "./attendees.ts";

/** What a person can type. */
export interface Spec {
  readonly title: string;
  readonly start: number;
  readonly end: number;
  readonly timeZone: string;
  readonly location: string;
  readonly description: string;
  readonly attendees: readonly Person[];
  /** The rooms and equipment that it takes, by id. */
  readonly resourceIds: readonly string[];
  /** Milliseconds that are taken before and after it as well. */
  readonly bufferBefore: number;
  readonly bufferAfter: number;
  /** It takes no time: it is shown, and may overlap anything. */
  readonly free: boolean;
  /** It is about whole days: both ends are midnights of its zone. */
  readonly allDay: boolean;
  /** Minutes before the start at which its owner is reminded; null: as their account says. */
  readonly reminders: readonly number[] | null;
}

/** What a field is unless somebody says otherwise. */
export const PLAIN = {
  resourceIds: [],
  bufferBefore: 0,
  bufferAfter: 0,
  free: false,
  allDay: false,
  reminders: null,
} as const;

/** Who invites; both may be empty. */
export interface Organizer {
  readonly name: string;
  readonly email: string;
}

/** "Invited by Grace (grace@example.org)". */
export function organizerText({ name, email }: Organizer): string {
  const who = name && email ? `${name} (${email})` : name || email;
  return `Invited by ${who || "somebody without a name"}`;
}

/** What the server has booked. */
export interface Booked extends Spec {
  /** Empty where only the managers of a resource may know more than when it is taken. */
  readonly id: string;
  readonly ownerId: string;
  readonly etag: string;
  readonly deleted: boolean;
  /** The series that it is an occurrence of; empty for one that does not repeat. */
  readonly seriesId: string;
  /** When the series put it; NaN for one that does not repeat. */
  readonly originalStart: number;
  /** What was answered, where somebody else invites; null for one's own. */
  readonly answer: AttendeeResponse | null;
  /** Who invites, where somebody else does. */
  readonly organizer: Organizer | null;
  /** It is a hold: it goes by itself unless it is confirmed. */
  readonly held: boolean;
}

/** Whether it was moved away from where its series has it. */
export const isMoved = (booked: Booked): boolean =>
  booked.seriesId !== "" && booked.start !== booked.originalStart;

/** The plain form of a message. */
export function fromMessage(message: Appointment): Booked {
  return {
    id: message.id,
    ownerId: message.ownerId,
    etag: message.etag,
    deleted: message.deleteTime !== undefined,
    seriesId: message.seriesId,
    answer: message.role === Role.ATTENDEE ? message.ownResponse : null,
    organizer: message.organizer
      ? { name: message.organizer.displayName, email: message.organizer.email }
      : null,
    held: message.expireTime !== undefined,
    originalStart: message.originalStartTime ? timestampMs(message.originalStartTime) : NaN,
    title: message.title,
    start: message.startTime ? timestampMs(message.startTime) : 0,
    end: message.endTime ? timestampMs(message.endTime) : 0,
    timeZone: message.timeZone,
    location: message.location,
    description: message.description,
    attendees: message.attendees.map(({ email, displayName, response, comment, delivery }) => ({
      email,
      displayName,
      response,
      ...(comment ? { comment } : {}),
      ...(delivery === AttendeeDelivery.FAILED ? { undelivered: true as const } : {}),
    })),
    resourceIds: message.resourceIds,
    bufferBefore: message.bufferBefore ? durationMs(message.bufferBefore) : 0,
    bufferAfter: message.bufferAfter ? durationMs(message.bufferAfter) : 0,
    free: message.transparency === Transparency.TRANSPARENT,
    allDay: message.allDay,
    reminders: message.noReminders ? [] : message.reminders.length > 0 ? message.reminders : null,
  };
}

/** The message of some fields; those that are left out stay unset. */
export function toMessage(
  spec: Partial<Spec>,
  { id = "", etag = "" }: { id?: string; etag?: string } = {},
): Appointment {
  const { start, end, attendees, resourceIds, bufferBefore, bufferAfter, free, reminders, ...plain } = spec;
  return create(AppointmentSchema, {
    id,
    etag,
    ...plain,
    ...(start === undefined ? {} : { startTime: timestampFromMs(start) }),
    ...(end === undefined ? {} : { endTime: timestampFromMs(end) }),
    ...(resourceIds ? { resourceIds: [...resourceIds] } : {}),
    ...(bufferBefore === undefined ? {} : { bufferBefore: durationFromMs(bufferBefore) }),
    ...(bufferAfter === undefined ? {} : { bufferAfter: durationFromMs(bufferAfter) }),
    ...(free === undefined ? {} : { transparency: free ? Transparency.TRANSPARENT : Transparency.OPAQUE }),
    ...(reminders ? { reminders: [...reminders], noReminders: reminders.length === 0 } : {}),
    ...(attendees ? { attendees: attendees.map((person) => create(AttendeeSchema, person)) } : {}),
  });
}

/** The contract's name of each field that a person can change. */
export const FIELDS: Readonly<Record<keyof Spec, string>> = {
  title: "title",
  start: "start_time",
  end: "end_time",
  timeZone: "time_zone",
  location: "location",
  description: "description",
  attendees: "attendees",
  resourceIds: "resource_ids",
  bufferBefore: "buffer_before",
  bufferAfter: "buffer_after",
  free: "transparency",
  allDay: "all_day",
  reminders: "reminders",
};

/** The time that it takes, buffers included; null if it takes none. */
export function taken(booked: Booked): Span | null {
  if (booked.free || (booked.answer !== null && booked.answer !== AttendeeResponse.ACCEPTED)) return null;
  return { start: booked.start - booked.bufferBefore, end: booked.end + booked.bufferAfter };
}

/** The fields in which a spec differs from what is booked. */
export function changes(spec: Spec, booked: Spec): Partial<Spec> {
  const names = (Object.keys(FIELDS) as (keyof Spec)[]).filter(
    (name) => JSON.stringify(spec[name]) !== JSON.stringify(booked[name]),
  );
  return Object.fromEntries(names.map((name) => [name, spec[name]]));
}

/** Whether a search for these words finds the appointment: each must be somewhere in what a person wrote. */
export function matches(booked: Spec, search: string): boolean {
  const people = booked.attendees.flatMap(({ email, displayName }) => [email, displayName]);
  const text = [booked.title, booked.location, booked.description, ...people].join("\n").toLocaleLowerCase();
  return search
    .toLocaleLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}
