/**
 * One refresh of the session for all tabs of the browser.
 *
 * The tokens are in HttpOnly cookies that no script sees, so tabs agree through localStorage on two notes: how often
 * the session was renewed, and the attempt under way. A call that was refused notes the count from before it was sent;
 * whoever gets the lock and finds another count knows that a tab has renewed in between. A retry of one attempt sends
 * the same X-Refresh-Id, in this tab or, if this one died in the middle, in another, so that the server answers with
 * the same successor instead of seeing a thief.
 */
import { Fault, faultOfResponse, unreachable } from "./faults.ts";
import { uuid } from "./uuid.ts";

const COUNT = "appointments.renewals";
const ATTEMPT = "appointments.attempt";
/** The server remembers an attempt for 60 seconds. */
const ATTEMPT_LIFE = 55_000;
const TRIES = 4;

/** How often this browser's session was renewed. */
export const refreshCount = (): number => Number(localStorage.getItem(COUNT) ?? 0);

/** Whether somebody was signed in on this browser; else there is nothing to refreshOnce. */
export const hasSession = (): boolean => localStorage.getItem(COUNT) !== null;

/** Note that the session is live. */
export const rememberSession = (): void => {
  if (!hasSession()) localStorage.setItem(COUNT, "0");
};

/** Forget the session, after signing out. */
export const forgetSession = (): void => {
  localStorage.removeItem(COUNT);
  localStorage.removeItem(ATTEMPT);
};

function attemptId(): string {
  const noted = JSON.parse(localStorage.getItem(ATTEMPT) ?? "null") as { id: string; at: number } | null;
  if (noted && Date.now() - noted.at < ATTEMPT_LIFE) return noted.id;
  const id = uuid();
  localStorage.setItem(ATTEMPT, JSON.stringify({ id, at: Date.now() }));
  return id;
}

/** POST to a REST endpoint; a failure of the network is a Fault too. */
export async function post(
  path: string,
  body: object,
  headers: Record<string, string> = {},
): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, {
      method: "POST",
      credentials: "include",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(15_000),
    });
  } catch {
    throw unreachable();
  }
  if (!response.ok) throw await faultOfResponse(response);
  return response;
}

async function refresh(): Promise<void> {
  for (let left = TRIES; ; left--) {
    try {
      await post("/auth/refresh", {}, { "x-refresh-id": attemptId() });
      return;
    } catch (error) {
      if (!(error instanceof Fault) || error.kind !== "unreachable" || left <= 1) throw error;
      await new Promise((resolve) => setTimeout(resolve, 400));
    }
  }
}

async function exclusively(work: () => Promise<void>): Promise<void> {
  // Missing where the page is served without TLS: there every tab refreshes by itself.
  if (navigator.locks) await navigator.locks.request("appointments.renewal", work);
  else await work();
}

/**
 * Renew the session, unless a tab did since the count was `seen`.
 *
 * `stillSignedIn` asks the server who we are, without refreshing: another tab may have renewed just now, and a refused
 * refresh may only mean that another one was answered first. Throws a Fault "signedOut" if it is really over, and "unreachable" if nobody can say.
 */
export async function refreshOnce(seen: number, stillSignedIn: () => Promise<boolean>): Promise<void> {
  await exclusively(async () => {
    if (refreshCount() !== seen) return;
    try {
      // A note of another tab may arrive after its lock has been let go; the cookies are never late.
      if (!(await stillSignedIn())) await refresh();
    } catch (error) {
      const refused = error instanceof Fault && error.kind === "signedOut";
      if (refused) localStorage.removeItem(ATTEMPT);
      if (!refused || !(await stillSignedIn())) throw error;
    }
    localStorage.removeItem(ATTEMPT);
    localStorage.setItem(COUNT, String(seen + 1));
  });
}
