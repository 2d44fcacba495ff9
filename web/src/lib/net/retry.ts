/** Trying again by itself while the server is away. */
import { Fault, retryable } from "./faults.ts";

const DELAYS = [1, 2, 4, 8, 15];

/** Wait that many seconds, or less if the browser comes back on line or the wait is called off. */
export function pause(seconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      removeEventListener("online", done);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    addEventListener("online", done);
    signal?.addEventListener("abort", done);
  });
}

/**
 * Run an operation until the server answers it, with yes or with a definite no.
 *
 * The operation is told whether an earlier try may have reached the server, so that it can recognise its own effect.
 * `waiting` hears of each failed try. Once `signal` is aborted, the next failure is thrown.
 */
export async function untilAnswered<T>(
  operation: (again: boolean) => Promise<T>,
  waiting: (fault: Fault) => void = () => {},
  signal?: AbortSignal,
): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await operation(tries > 0);
    } catch (error) {
      if (!retryable(error) || signal?.aborted) throw error;
      const fault = error as Fault;
      waiting(fault);
      await pause(Math.max(fault.retryAfter, DELAYS[Math.min(tries, DELAYS.length - 1)] ?? 15), signal);
      if (signal?.aborted) throw error;
    }
  }
}
