/**
 * The appointments that the page knows, and every change to them.
 *
 * What is shown is what the server said plus the moves and deletions that it has not answered yet. A definite no takes
 * such a change back and throws; no answer at all is waited for, so nothing is lost. Changes of one appointment are
 * sent one after the other, each with the etag that the one before it brought.
 */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

import type { Appointment } from "../../gen/appointments/v1/appointments_pb.js";
import { appointmentService } from "../net/api.ts";
import { changes, FIELDS, fromMessage, toMessage, type Booked, type Spec } from "./appointment.ts";
import { connection } from "../net/connection.svelte.ts";
import type { Obstacle, Obstacles } from "./conflict.ts";
import { isHeldByEditor } from "./held.ts";
import { released } from "./pressed.ts";
import { Fault, faultOf } from "../net/faults.ts";
import { session } from "../net/session.svelte.ts";
import { overlap, type Span } from "../time/spans.ts";
import { DAY } from "../time/zones.ts";

const PAGE_SIZE = 1000;
/** Milliseconds to both sides for which "around" is. */
const AROUND = 35 * DAY;
/** Milliseconds for which what has come from elsewhere is marked. */
const MARKED = 4_000;

/** What to list: what overlaps it. Without an end: all that there is, but of what never ends only what is near. */
interface Window {
  readonly start: number;
  readonly end?: number;
}

/** Where a drag puts an appointment, and into which rooms. */
export interface Move extends Span {
  readonly resourceIds?: readonly string[];
}

class Store {
  /** What the server said, by id. */
  #known = $state.raw<ReadonlyMap<string, Booked>>(new Map());
  /** Where appointments are shown while the server has not answered the move. */
  #moves = $state.raw<ReadonlyMap<string, Move>>(new Map());
  #deletions = $state.raw<ReadonlySet<string>>(new Set());
  /** What was booked or changed elsewhere just now. */
  #arrived = $state.raw<ReadonlySet<string>>(new Set());
  #queues = new Map<string, Promise<unknown>>();
  #window: Span | null = null;
  #load: AbortController | null = null;
  /** Counts what was learned outside a list. */
  #edits = 0;
  loading = $state(false);
  /** Whether the server has answered for the window that is shown. */
  loaded = $state(false);

  /** Everything to show, in order of time. */
  shown: readonly Booked[] = $derived.by(() => {
    const moved = [...this.#known.values()].filter(({ id }) => !this.#deletions.has(id));
    return moved
      .map((booked) => ({ ...booked, ...this.#moves.get(booked.id) }))
      .sort((a, b) => a.start - b.start || (a.id < b.id ? -1 : 1));
  });

  /** An appointment as it is shown. */
  find(id: string): Booked | undefined {
    return this.shown.find((booked) => booked.id === id);
  }

  /** Whether the page has an appointment in just this state, so that news of it is none. */
  has(id: string, etag: string): boolean {
    return this.#known.get(id)?.etag === etag;
  }

  /** Whether the server has yet to answer a change of it. */
  unsettled(id: string): boolean {
    return this.#moves.has(id);
  }

  /** Whether it was booked or changed elsewhere just now. */
  arrived(id: string): boolean {
    return this.#arrived.has(id);
  }

  /** Forget everything, for whoever signs in next. */
  clear(): void {
    this.#load?.abort();
    this.#arrived = new Set();
    this.#window = null;
    this.loaded = false;
    this.#known = new Map();
    this.#moves = new Map();
    this.#deletions = new Set();
  }

  /** Show a window, and keep to it from now on. */
  async show(window: Span): Promise<void> {
    // What comes with another window has not changed; nor has what this page itself did, since that is known.
    const again = this.loaded && this.#window?.start === window.start && this.#window.end === window.end;
    this.#window = window;
    this.#load?.abort();
    const load = (this.#load = new AbortController());
    this.loading = true;
    try {
      for (let edits = -1; edits !== this.#edits;) {
        edits = this.#edits; // If it moves on, the list may be from before the edit: ask again.
        const found = await connection.answered(() => list(window), load.signal);
        await released();
        if (load.signal.aborted) return;
        if (edits !== this.#edits) continue;
        this.loaded = true;
        // Most looks find nothing new; then nothing is drawn again.
        const before = [...this.#known.values()].filter((booked) => overlap(booked, window));
        if (same(before, found)) continue;
        if (again) this.#mark(found.filter(({ id, etag }) => !this.has(id, etag)).map(({ id }) => id));
        const kept = [...this.#known.values()].filter((booked) => !overlap(booked, window));
        this.#known = new Map([...kept, ...found].map((booked) => [booked.id, booked]));
      }
    } catch (error) {
      if (!load.signal.aborted) throw error;
    } finally {
      if (load === this.#load) this.loading = false;
    }
  }

  /** Ask again for what is shown. */
  async refresh(): Promise<void> {
    if (this.#window) await this.show(this.#window);
  }

  /** Book a time, if need be against the rules of its rooms; the same request id makes a retry safe. */
  async create(spec: Spec, requestId: string, signal: AbortSignal, overrideRules = false): Promise<Booked> {
    const request = { appointment: toMessage(spec), requestId, overrideRules };
    return this.told(await connection.saved(() => appointmentService.createAppointment(request), signal));
  }

  /** Make a hold the appointment that it stands for. */
  async confirm({ id, etag }: Booked, signal: AbortSignal): Promise<Booked> {
    // An earlier try may have confirmed it, without an answer: then it has another etag, and is returned as it is.
    const send = async (again: boolean): Promise<Booked> =>
      this.told(await appointmentService.confirmAppointment({ id, etag: again ? "" : etag }));
    return connection.saved(send, signal);
  }

  /** Change some fields of what was read with this etag. */
  async change(
    booked: Booked,
    change: Partial<Spec>,
    signal?: AbortSignal,
    overrideRules = false,
  ): Promise<Booked> {
    const paths = (Object.keys(change) as (keyof Spec)[]).map((name) => FIELDS[name]);
    const request = { appointment: toMessage(change, booked), updateMask: { paths }, overrideRules };
    const send = async (again: boolean): Promise<Booked> => {
      try {
        return this.told(await appointmentService.updateAppointment(request));
      } catch (error) {
        // The answer of an earlier try may have got lost: then the appointment is as we want it.
        if (!again || faultOf(error).kind !== "stale") throw error;
        const current = await this.read(booked.id);
        if (Object.keys(changes({ ...current, ...change }, current)).length > 0) throw error;
        return current;
      }
    };
    return connection.saved(send, signal);
  }

  /** Show an appointment where a drag has put it, while nothing is decided. */
  propose(id: string, to: Move): void {
    this.#moves = new Map(this.#moves).set(id, to);
  }

  /** Show it again where it is, unless another drag has moved it since. */
  withdraw(id: string, to: Move): void {
    if (this.#moves.get(id) !== to) return;
    const moves = new Map(this.#moves);
    moves.delete(id);
    this.#moves = moves;
  }

  /** Move at once; if the server refuses, it is back where it was and the Fault is thrown. */
  async move(id: string, to: Move, overrideRules = false): Promise<Booked> {
    this.propose(id, to);
    try {
      return await this.#inTurn(id, async () => {
        const booked = this.#known.get(id);
        if (!booked) throw new Fault("missing", "This appointment is gone.");
        const change = changes({ ...booked, ...to }, booked);
        return Object.keys(change).length === 0
          ? booked
          : this.change(booked, change, undefined, overrideRules);
      });
    } finally {
      // A later move of the same appointment has its own place and its own answer.
      this.withdraw(id, to);
    }
  }

  /** Delete at once; if the server refuses, it is back and the Fault is thrown. */
  async remove(booked: Booked, overrideRules = false): Promise<void> {
    const { id } = booked;
    this.#deletions = new Set(this.#deletions).add(id);
    const send = async (again: boolean): Promise<void> => {
      try {
        await appointmentService.deleteAppointment({ id, etag: booked.etag, overrideRules });
      } catch (error) {
        const lost = again && ["stale", "missing"].includes(faultOf(error).kind);
        if (!lost || !(await this.read(id)).deleted) throw error;
      }
    };
    try {
      await this.#inTurn(id, () => connection.saved(send));
      this.#forget(id);
      session.tellChanged();
    } finally {
      const deletions = new Set(this.#deletions);
      deletions.delete(id);
      this.#deletions = deletions;
    }
  }

  /** Bring a deleted appointment back. */
  async restore(id: string, overrideRules = false): Promise<Booked> {
    const send = async (): Promise<Booked> => {
      try {
        return this.told(await appointmentService.undeleteAppointment({ id, overrideRules }));
      } catch (error) {
        // Somebody, perhaps an earlier try of ours, has restored it.
        if (faultOf(error).reason !== "APPOINTMENT_NOT_DELETED") throw error;
        return this.read(id);
      }
    };
    return this.#inTurn(id, () => connection.saved(send));
  }

  /** What the server has now. */
  async read(id: string): Promise<Booked> {
    const { appointment } = await appointmentService.getAppointment({ id });
    if (!appointment) throw new Fault("other", "The server sent no appointment.");
    const booked = fromMessage(appointment);
    if (booked.deleted) this.#forget(id);
    else this.#learn(booked);
    return booked;
  }

  /** The appointments that overlap a span, as the server has them now. */
  async list(span: Span): Promise<Booked[]> {
    return list(span);
  }

  /** One page at most of the weeks around a moment. */
  async listAround(moment: number): Promise<Booked[]> {
    const { appointments } = await appointmentService.listAppointments({
      startTime: timestampFromMs(moment - AROUND),
      endTime: timestampFromMs(moment + AROUND),
      pageSize: PAGE_SIZE,
    });
    return appointments.map(fromMessage);
  }

  /** The collisions of a fault, with the titles and names of what is in the way. */
  async obstacles(fault: Fault): Promise<Obstacles> {
    const [appointments, resources] = await Promise.all([
      this.#collisions(fault),
      // Few conflicts are about rooms: what knows their names comes only then.
      fault.resourceIds.length === 0
        ? []
        : import("./resources.svelte.ts").then(({ resources }) => resources.names(fault.resourceIds)),
    ]);
    return { appointments, resources };
  }

  async #collisions(fault: Fault): Promise<Obstacle[]> {
    const named = fault.collisions.map(async (collision): Promise<Obstacle> => {
      const title = this.#known.get(collision.id)?.title;
      return {
        ...collision,
        title: title ?? (await this.read(collision.id).catch(() => null))?.title ?? null,
      };
    });
    return Promise.all(named);
  }

  #mark(ids: readonly string[]): void {
    if (ids.length === 0) return;
    this.#arrived = new Set([...this.#arrived, ...ids]);
    setTimeout(() => {
      this.#arrived = new Set([...this.#arrived].filter((id) => !ids.includes(id)));
    }, MARKED);
  }

  /** Learn from an answer of the server what an appointment is now. */
  told(answer: { appointment?: Appointment | undefined }): Booked {
    if (!answer.appointment) throw new Fault("other", "The server sent no appointment.");
    const booked = fromMessage(answer.appointment);
    this.#learn(booked);
    session.tellChanged();
    return booked;
  }

  #learn(booked: Booked): void {
    if (isHeldByEditor(booked)) return;
    this.#edits++;
    this.#known = new Map(this.#known).set(booked.id, booked);
  }

  #forget(id: string): void {
    this.#edits++;
    const known = new Map(this.#known);
    known.delete(id);
    this.#known = known;
  }

  async #inTurn<T>(id: string, work: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(id) ?? Promise.resolve();
    const turn = before.then(work, work);
    this.#queues.set(id, turn);
    try {
      return await turn;
    } finally {
      if (this.#queues.get(id) === turn) this.#queues.delete(id);
    }
  }
}

function same(some: readonly Booked[], others: readonly Booked[]): boolean {
  const etags = new Map(some.map(({ id, etag }) => [id, etag]));
  return some.length === others.length && others.every(({ id, etag }) => etags.get(id) === etag);
}

/** The appointments of a window: the caller's own, those of a series, or those that take a resource, whosever they are. */
export async function list(window: Window, resourceId = "", seriesId = ""): Promise<Booked[]> {
  return (await listWithHolds(window, resourceId, seriesId)).filter((booked) => !isHeldByEditor(booked));
}

/** The same with what the person's editors hold. */
export async function listWithHolds(window: Window, resourceId = "", seriesId = ""): Promise<Booked[]> {
  const found: Booked[] = [];
  let pageToken = "";
  do {
    const page = await appointmentService.listAppointments({
      startTime: timestampFromMs(window.start),
      ...(window.end === undefined ? {} : { endTime: timestampFromMs(window.end) }),
      pageSize: PAGE_SIZE,
      pageToken,
      resourceId,
      seriesId,
    });
    found.push(...page.appointments.map(fromMessage));
    pageToken = page.nextPageToken;
  } while (pageToken);
  return found;
}

export const store = new Store();
