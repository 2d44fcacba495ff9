/** An appointment as the page handles it: plain values, instants in milliseconds. */
import { create } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";

import {
  AppointmentSchema,
  AttendeeSchema,
  type Appointment,
} from "../../gen/appointments/v1/appointments_pb.js";
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
}

/** What the server has booked. */
export interface Booked extends Spec {
  readonly id: string;
  readonly etag: string;
  readonly deleted: boolean;
}

/** The plain form of a message. */
export function fromMessage(message: Appointment): Booked {
  return {
    id: message.id,
    etag: message.etag,
    deleted: message.deleteTime !== undefined,
    title: message.title,
    start: message.startTime ? timestampMs(message.startTime) : 0,
    end: message.endTime ? timestampMs(message.endTime) : 0,
    timeZone: message.timeZone,
    location: message.location,
    description: message.description,
    attendees: message.attendees.map(({ email, displayName, response }) => ({
      email,
      displayName,
      response,
    })),
  };
}

/** The message of some fields; those that are left out stay unset. */
export function toMessage(spec: Partial<Spec>, identity: { id?: string; etag?: string } = {}): Appointment {
  const { start, end, attendees, ...texts } = spec;
  return create(AppointmentSchema, {
    ...identity,
    ...texts,
    ...(start === undefined ? {} : { startTime: timestampFromMs(start) }),
    ...(end === undefined ? {} : { endTime: timestampFromMs(end) }),
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
};

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
