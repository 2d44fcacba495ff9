/** Whether the server can be reached, and how much waits for it. */
import type { Fault } from "./faults.ts";
import { untilAnswered } from "./retry.ts";

class Connection {
  /** What the browser says of the network. */
  offline = $state(!navigator.onLine);
  /** Requests that failed for want of an answer and are being repeated. */
  #waiting = $state(0);
  /** Changes that are not saved yet. */
  unsaved = $state(0);

  constructor() {
    addEventListener("online", () => (this.offline = false));
    addEventListener("offline", () => (this.offline = true));
    addEventListener("beforeunload", (event) => {
      if (this.unsaved > 0) event.preventDefault();
    });
  }

  /** What to tell the person; empty while all is well. */
  get trouble(): string {
    if (!this.offline && this.#waiting === 0) return "";
    const what = this.offline ? "You are offline." : "The server can’t be reached. Trying again…";
    if (this.unsaved === 0) return what;
    const changes = this.unsaved === 1 ? "1 change is" : `${this.unsaved} changes are`;
    return `${what} ${changes} not saved yet. The page will save as soon as it can.`;
  }

  /** Run an operation until it is answered, and keep the person told. */
  async answered<T>(operation: (again: boolean) => Promise<T>, signal?: AbortSignal): Promise<T> {
    let failing = false;
    const waiting = (fault: Fault): void => {
      if (fault.kind === "unreachable" && !failing) {
        failing = true;
        this.#waiting++;
      }
    };
    try {
      return await untilAnswered(operation, waiting, signal);
    } finally {
      if (failing) this.#waiting--;
    }
  }

  /** The same for a change: it counts as unsaved until it is answered. */
  async saved<T>(operation: (again: boolean) => Promise<T>, signal?: AbortSignal): Promise<T> {
    this.unsaved++;
    try {
      return await this.answered(operation, signal);
    } finally {
      this.unsaved--;
    }
  }
}

export const connection = new Connection();
