/**
 * What other devices and people change, as it happens: one stream for all tabs of the browser.
 *
 * The tab that has the lock follows it and tells the others; when it is closed, another takes over. It follows the
 * person's calendar, and the rooms that any tab shows. Whoever was cut off goes on from the last cursor, so nothing is
 * missed; so it is opened again, too, when other rooms are shown. That the stream is down is not told: the calendar also
 * asks by itself every minute, and about rooms every five.
 */
import { Code, ConnectError, createClient } from "@connectrpc/connect";

import {
  ChangeService,
  type Change,
  type WatchChangesResponse,
} from "../../gen/appointments/v1/changes_pb.js";
import { accountService, transport } from "./api.ts";
import { faultOf } from "./faults.ts";
import { pause } from "./retry.ts";
import { shown } from "./shown.ts";

const changeService = createClient(ChangeService, transport);
/** Seconds, by how often it has failed in a row. */
const DELAYS = [1, 2, 4, 8, 15, 30];
/** Milliseconds without an answer after which the connection must be dead: one comes at least every 20 seconds. */
const DEAD = 45_000;
/** Milliseconds in which further rooms may come or go before the stream is opened again. */
const SETTLING = 250;

type Listener = (changes: readonly Change[] | null) => void;

/** Call `onchange` with what has changed, or with null if anything may have, until it is aborted. */
export async function follow(onchange: Listener, signal: AbortSignal): Promise<void> {
  // Missing where the page is served without TLS: there every tab has a stream of its own.
  const alone = !navigator.locks;
  const lead = (): Promise<void> => new Stream(onchange, signal, alone).watch();
  try {
    if (alone) await lead();
    else await navigator.locks.request("appointments.changes", { signal }, lead);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

class Stream {
  readonly #onchange: Listener;
  readonly #signal: AbortSignal;
  readonly #alone: boolean;
  #cursor = "";
  #rooms: readonly string[] = [];
  /** Where to go on when it is opened again, because this tab has read further rooms since then. */
  #since: string | undefined;
  /** Rooms that may have been read before they were followed: by another tab, or before there was a cursor. */
  #late = new Set<string>();
  /** Rooms that are shown somewhere, and that the server refuses. */
  #unseen = new Set<string>();
  #reopen: () => void = () => {};
  #settling: ReturnType<typeof setTimeout> | undefined;

  constructor(onchange: Listener, signal: AbortSignal, alone: boolean) {
    this.#onchange = onchange;
    this.#signal = signal;
    this.#alone = alone;
  }

  async watch(): Promise<void> {
    shown.onshown = (elsewhere) => this.#note(elsewhere);
    try {
      await this.#watch();
    } finally {
      shown.onshown = () => {};
      clearTimeout(this.#settling);
    }
  }

  async #watch(): Promise<void> {
    let failures = 0;
    this.#ask();
    while (!this.#signal.aborted) {
      const attempt = new AbortController();
      try {
        for await (const answer of this.#answers(attempt)) {
          failures = 0;
          this.#take(answer);
        }
      } catch (error) {
        if (this.#signal.aborted) return;
        if (attempt.signal.aborted) continue;
        const { code } = ConnectError.from(error);
        if (code === Code.Unimplemented) return;
        if (code === Code.Unauthenticated && !(await stillSignedIn())) return;
        if (code === Code.NotFound && this.#without(faultOf(error).metadata["resource_id"])) continue;
        // The cursor is too old, or none of this person's: begin again.
        if (code === Code.OutOfRange || code === Code.InvalidArgument) {
          this.#cursor = "";
          shown.tell({ ids: [], list: true }, this.#alone);
        }
        failures++;
      }
      this.#ask();
      await pause(DELAYS[Math.min(failures, DELAYS.length - 1)] ?? 30, this.#signal);
    }
  }

  /** What comes from the cursor on, until other rooms are shown, the browser is back on line or nothing comes any more. */
  async *#answers(attempt: AbortController): AsyncGenerator<WatchChangesResponse> {
    const end = (): void => attempt.abort();
    this.#reopen = end;
    this.#rooms = this.#wanted();
    this.#cursor = this.#since ?? this.#cursor;
    this.#since = undefined;
    let dead = setTimeout(end, DEAD);
    this.#signal.addEventListener("abort", end);
    addEventListener("online", end);
    try {
      const request = { cursor: this.#cursor, resourceIds: [...this.#rooms] };
      const options = { signal: attempt.signal, timeoutMs: 0 };
      for await (const answer of changeService.watchChanges(request, options)) {
        clearTimeout(dead);
        yield answer;
        dead = setTimeout(end, DEAD);
      }
    } finally {
      clearTimeout(dead);
      this.#signal.removeEventListener("abort", end);
      removeEventListener("online", end);
    }
  }

  #take({ changes, nextCursor }: WatchChangesResponse): void {
    const isFirst = this.#cursor === "";
    this.#cursor = nextCursor;
    const own = changes.filter(({ resourceId }) => resourceId === "");
    if (isFirst) this.#onchange(null);
    else if (own.length > 0) this.#onchange(own);
    const late = this.#rooms.filter((id) => this.#late.delete(id) || isFirst);
    const changed = changes.map(({ resourceId }) => resourceId).filter((id) => id !== "");
    const list = changes.some((change) => change.changed.case === "resource");
    shown.tell({ ids: [...new Set([...late, ...changed])], list }, this.#alone);
  }

  /** Tabs that were closed without a word are forgotten by this. */
  #ask(): void {
    if (!this.#alone) shown.ask();
  }

  #wanted(): string[] {
    return shown.all(this.#alone).filter((id) => !this.#unseen.has(id));
  }

  /** Other rooms are shown. */
  #note(elsewhere: boolean): void {
    const all = shown.all(this.#alone);
    this.#unseen = new Set([...this.#unseen].filter((id) => all.includes(id)));
    const added = all.filter((id) => !this.#rooms.includes(id));
    if (elsewhere || this.#cursor === "") for (const id of added) this.#late.add(id);
    else if (added.length > 0) this.#since ??= this.#cursor;
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      const wanted = this.#wanted();
      if (wanted.length !== this.#rooms.length || wanted.some((id) => !this.#rooms.includes(id)))
        this.#reopen();
    }, SETTLING);
  }

  /** Go on without a room that cannot be seen any more; the tabs look which ones there are. */
  #without(id: string | undefined): boolean {
    if (id === undefined || !this.#rooms.includes(id)) return false;
    this.#unseen.add(id);
    shown.tell({ ids: [], list: true }, this.#alone);
    return true;
  }
}

/** The call refreshes the session if it can be. That it is over is told by what the person does next. */
async function stillSignedIn(): Promise<boolean> {
  try {
    await accountService.getCurrentUser({});
    return true;
  } catch {
    return false;
  }
}
