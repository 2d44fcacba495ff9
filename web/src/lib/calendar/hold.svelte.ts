/**
 * What keeps the rooms of a new appointment while it is written: a hold (AIP-214) that Save turns into the appointment.
 *
 * There is one at most for each editor. Where none can be had, because of a limit or because the server is away, the editor
 * works without. Holds of an editor, of this page or of another one of the same person, are shown nowhere and never in
 * the way of what the person does.
 */
import { Code, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { durationFromMs } from "@bufbuild/protobuf/wkt";

import { AppointmentService } from "../../gen/appointments/v1/appointments_pb.js";
import { appointmentService } from "../net/api.ts";
import { Fault, faultOf } from "../net/faults.ts";
import { uuid } from "../net/uuid.ts";
import { overlap } from "../time/spans.ts";
import { DAY, MINUTE } from "../time/zones.ts";
import { fromMessage, PLAIN, toMessage, type Booked, type Spec } from "./appointment.ts";
import { HELD_BY_EDITOR, holdsOfThisPage, isHeldByEditor } from "./held.ts";
import { listWithHolds } from "./store.svelte.ts";

/** How long a hold lives that nobody renews or deletes, such as that of a browser that has crashed. */
const TTL = 5 * MINUTE;
const RENEWED_AFTER = 4 * MINUTE;
/** Then half an hour has passed since the time or the rooms were changed: nobody is writing any more. */
const MOST_RENEWALS = 6;
/** Not at each keystroke in a field of time. */
const PAUSE = 500;

/** Requests that the browser sends although the page is being closed. */
const leaving = createClient(
  AppointmentService,
  createGrpcWebTransport({
    baseUrl: location.origin,
    fetch: (input, init) => fetch(input, { ...init, credentials: "include", keepalive: true }),
  }),
);

/** The part of an appointment that its hold has: what takes time, and nothing that others could read. */
function heldSpec({ start, end, timeZone, resourceIds, bufferBefore, bufferAfter, allDay }: Spec): Spec {
  const times = { start, end, timeZone, bufferBefore, bufferAfter, allDay };
  return {
    ...PLAIN,
    ...{ title: "Held", location: "", description: HELD_BY_EDITOR, attendees: [] },
    ...times,
    resourceIds,
  };
}

export class Hold {
  /** Whether what is wanted is kept at the moment. */
  isHeld = $state(false);
  #onrefused: (fault: Fault, spec: Spec) => void;
  #wanted: Spec | null = null;
  #key = "";
  #held: Booked | null = null;
  /** What it keeps, and what the one kept that was handed over. */
  #heldKey = "";
  #takenKey = "";
  #renewals = 0;
  #isClosed = false;
  #pause: ReturnType<typeof setTimeout> | undefined;
  #renewal: ReturnType<typeof setTimeout> | undefined;
  /** The end of what is under way: one thing at a time. */
  #turn: Promise<void> = Promise.resolve();

  /** `onrefused` hears that what is wanted cannot be booked. */
  constructor(onrefused: (fault: Fault, spec: Spec) => void) {
    this.#onrefused = onrefused;
  }

  /** Keep the time and the rooms of that; null: nothing. Returns whether that is something else than before. */
  want(spec: Spec | null): boolean {
    const wanted = spec && heldSpec(spec);
    const key = wanted ? JSON.stringify(wanted) : "";
    if (key === this.#key) return false;
    this.#key = key;
    this.#wanted = wanted;
    this.#renewals = 0;
    // What is held is something else.
    this.isHeld = false;
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => this.#settle(), PAUSE);
    return true;
  }

  /** Hand the hold over to whoever saves the appointment. Null: there is none. */
  async take(): Promise<Booked | null> {
    clearTimeout(this.#pause);
    await this.#turn;
    const held = this.#held;
    this.#takenKey = this.#heldKey;
    this.#lose();
    return held;
  }

  /** It was not saved, for a reason that says nothing about the hold. */
  giveBack(held: Booked): void {
    if (this.#isClosed) return void remove(held);
    this.#keep(held, this.#takenKey);
  }

  /** What was handed over is not needed. */
  drop(held: Booked): Promise<void> {
    return remove(held);
  }

  /** Let go of it for good. */
  close(): void {
    this.#isClosed = true;
    this.#wanted = null;
    clearTimeout(this.#pause);
    this.#settle();
  }

  /** The page is being left. If it comes back, what is wanted has to be said again. */
  leave(): void {
    const held = this.#held;
    this.#key = "";
    this.#lose();
    if (held) leaving.deleteAppointment({ id: held.id }).catch(() => {});
  }

  #settle(): void {
    this.#turn = this.#turn.then(async () => {
      const held = this.#held;
      this.#lose();
      if (held) await remove(held);
      if (this.#wanted) await this.#ask(this.#wanted, this.#key);
    });
  }

  /** Let it live on. Where it has gone, such as while the computer slept, it is asked for anew. */
  #renew(): void {
    this.#turn = this.#turn.then(async () => {
      const held = this.#held;
      if (!held) return;
      const prolonged = await prolong(held).catch(() => null);
      if (prolonged) this.#keep(prolonged, this.#heldKey);
      else this.#settle();
    });
  }

  async #ask(spec: Spec, key: string): Promise<void> {
    try {
      const held = await besidesOwnHolds(spec, () => create(spec));
      if (this.#isClosed) await remove(held);
      else this.#keep(held, key);
    } catch (error) {
      this.isHeld = false;
      const fault = faultOf(error);
      const isRefused = fault.kind === "conflict" || fault.reason === "BOOKING_RULE";
      if (isRefused && key === this.#key && !this.#isClosed) this.#onrefused(fault, spec);
    }
  }

  #keep(held: Booked, key: string): void {
    this.#held = held;
    this.#heldKey = key;
    this.isHeld = key === this.#key;
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(() => {
      if (++this.#renewals <= MOST_RENEWALS) this.#renew();
      else this.#renewal = setTimeout(() => this.#lose(), TTL - RENEWED_AFTER);
    }, RENEWED_AFTER);
  }

  #lose(): void {
    clearTimeout(this.#renewal);
    this.#held = null;
    this.isHeld = false;
  }
}

async function create(spec: Spec): Promise<Booked> {
  const request = { ...toMessage(spec), ttl: durationFromMs(TTL) };
  const { appointment } = await appointmentService.createAppointment({
    appointment: request,
    requestId: uuid(),
  });
  if (!appointment) throw new Fault("other", "The server sent no appointment.");
  holdsOfThisPage.add(appointment.id);
  return fromMessage(appointment);
}

async function prolong({ id }: Booked): Promise<Booked> {
  const { appointment } = await appointmentService.updateAppointment({
    appointment: { id, ttl: durationFromMs(TTL) },
    updateMask: { paths: ["ttl"] },
  });
  if (!appointment) throw new Fault("other", "The server sent no appointment.");
  return fromMessage(appointment);
}

/** Where that fails, the hold goes by itself. */
async function remove({ id }: Booked): Promise<void> {
  await appointmentService.deleteAppointment({ id }).catch(() => {});
}

/** Book it. If something is in the way, the person's other editors lose their holds, and it is tried again. */
export async function besidesOwnHolds<T>(spec: Spec, book: () => Promise<T>, besides = ""): Promise<T> {
  try {
    return await book();
  } catch (error) {
    if (
      faultOf(error).status?.code !== Code.AlreadyExists ||
      !(await removeHolds(spec, besides).catch(() => false))
    )
      throw error;
    return book();
  }
}

/** Whether there were any. Buffers reach at most two days. */
async function removeHolds(spec: Spec, besides: string): Promise<boolean> {
  const window = { start: spec.start - 2 * DAY, end: spec.end + 2 * DAY };
  const holds = (await listWithHolds(window)).filter(
    (booked) =>
      isHeldByEditor(booked) &&
      booked.id !== besides &&
      (overlap(booked, spec) || booked.resourceIds.some((id) => spec.resourceIds.includes(id))),
  );
  await Promise.all(holds.map(remove));
  return holds.length > 0;
}
