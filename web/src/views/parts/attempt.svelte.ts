/** One thing at a time that a form asks of the server, and what to say about it beside the form. */
import { faultOf, type BadField } from "../../lib/net/faults.ts";

interface Answer<Part extends string> {
  /** The part of the dialog where it is shown. */
  readonly part: Part;
  readonly text: string;
  readonly bad: boolean;
}

export class Attempt<Part extends string> {
  busy = $state(false);
  answer = $state.raw<Answer<Part>>();
  /** The fields that the server refused, by their names in the contract without the message's own. */
  errors = $state.raw<Readonly<Record<string, string>>>({});
  #onsessionend: () => void;

  constructor(onsessionend: () => void) {
    this.#onsessionend = onsessionend;
  }

  /** Run it, and show what it answers; "" shows nothing. Returns the reason if it was refused, else null. */
  async run(part: Part, work: () => Promise<string>): Promise<string | null> {
    if (this.busy) return "BUSY";
    this.busy = true;
    this.forget();
    try {
      const text = await work();
      if (text) this.answer = { part, text, bad: false };
      return null;
    } catch (error) {
      const fault = faultOf(error);
      if (fault.kind === "signedOut") this.#onsessionend();
      this.errors = byName(fault.fields);
      const text =
        fault.kind === "throttled" ? "Too many attempts. Please try again in a moment." : fault.message;
      this.answer = { part, text: REASONS[fault.reason] ?? fault.fields[0]?.description ?? text, bad: true };
      return fault.reason || "OTHER";
    } finally {
      this.busy = false;
    }
  }

  /** The same for the event of a form or a button. */
  on(part: Part, work: () => Promise<string>): (event: Event) => void {
    return (event) => {
      event.preventDefault();
      void this.run(part, work);
    };
  }

  forget(): void {
    this.answer = undefined;
    this.errors = {};
  }
}

/** What some refusals mean for the person. */
const REASONS: Readonly<Record<string, string>> = {
  WRONG_PASSWORD: "The password is wrong.",
  RESOURCE_CREATION_DENIED: "Only administrators can add rooms and equipment here.",
  LAST_MANAGER: "Somebody has to manage it: give the role to somebody else first.",
  UNITS_IN_USE: "Appointments have more units than that.",
  TOO_MANY_KEYS: "There are too many keys. Revoke one that is not needed any more.",
};

const byName = (fields: readonly BadField[]): Record<string, string> =>
  Object.fromEntries(fields.map(({ field, description }) => [field.replace(/^\w+\./, ""), description]));
