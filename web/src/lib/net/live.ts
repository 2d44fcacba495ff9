/**
 * What other devices and people change, as it happens: one stream for all tabs of the browser.
 *
 * The tab that has the lock follows it and tells the others; when it is closed, another takes over. Whoever was cut off
 * goes on from the last cursor, so nothing is missed. That the stream is down is not told: the calendar also asks by itself
 * every minute.
 */
import { Code, ConnectError, createClient } from "@connectrpc/connect";

import { ChangeService, type Change } from "../../gen/appointments/v1/changes_pb.js";
import { accountService, transport } from "./api.ts";
import { pause } from "./retry.ts";

const changeService = createClient(ChangeService, transport);
/** Seconds, by how often it has failed in a row. */
const DELAYS = [1, 2, 4, 8, 15, 30];

/** Call `onchange` with what has changed, or with null if anything may have, until it is aborted. */
export async function follow(
  onchange: (changes: readonly Change[] | null) => void,
  signal: AbortSignal,
): Promise<void> {
  const lead = (): Promise<void> => watch(onchange, signal);
  try {
    // Missing where the page is served without TLS: there every tab has a stream of its own.
    if (navigator.locks) await navigator.locks.request("appointments.changes", { signal }, lead);
    else await lead();
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function watch(
  onchange: (changes: readonly Change[] | null) => void,
  signal: AbortSignal,
): Promise<void> {
  let cursor = "";
  let failures = 0;
  while (!signal.aborted) {
    try {
      for await (const answer of changeService.watchChanges({ cursor }, { signal, timeoutMs: 0 })) {
        failures = 0;
        if (cursor === "") onchange(null);
        else if (answer.changes.length > 0) onchange(answer.changes);
        cursor = answer.nextCursor;
      }
    } catch (error) {
      const { code } = ConnectError.from(error);
      if (signal.aborted || code === Code.Unimplemented) return;
      if (code === Code.Unauthenticated && !(await stillSignedIn())) return;
      // The cursor is too old, or none of this person's: begin again.
      if (code === Code.OutOfRange || code === Code.InvalidArgument) cursor = "";
      failures++;
    }
    await pause(DELAYS[Math.min(failures, DELAYS.length - 1)] ?? 30, signal);
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
