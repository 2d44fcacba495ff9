/** Who is signed in, in this tab and in the others. */
import type { MessageInitShape } from "@bufbuild/protobuf";

import type { User, UserSchema } from "../../gen/appointments/v1/account_pb.js";
import { accountService } from "./api.ts";
import { connection } from "./connection.svelte.ts";
import { Fault } from "./faults.ts";
import { forgetSession, rememberSession, post, hasSession } from "./refresh.ts";
import { settings } from "../settings.svelte.ts";
import { deviceZone } from "../time/zones.ts";

/** "UTC" is what an account has until somebody chooses. */
const UNSET = "UTC";

/** Who has signed in on this browser before. */
const RETURNING = "appointments.returning";

type Updatable = "displayName" | "timeZone" | "hours" | "defaultReminders";
type News = "signed in" | "signed out" | "changed";

class Session {
  /** undefined: not known yet; null: nobody. */
  user = $state.raw<User | null | undefined>();
  #sendsMail = false;
  /** Why the sign-in page is shown, if it was not asked for. */
  notice = $state("");
  /** Called when another tab of this browser has changed an appointment. */
  onchange: () => void = () => {};
  #tabs = new BroadcastChannel("appointments");

  constructor() {
    this.#tabs.onmessage = ({ data }: MessageEvent<News>) => {
      if (data === "changed") this.onchange();
      else if (data === "signed out") this.#leave("You signed out in another tab.");
      else void this.begin();
    };
  }

  /** Whether this browser has been signed in before. */
  get known(): boolean {
    return hasSession() || localStorage.getItem(RETURNING) !== null;
  }

  /** Whether who is invited is written to: "no", or "later", once the person has confirmed their own address. */
  get mail(): "yes" | "later" | "no" {
    if (!this.#sendsMail) return "no";
    return this.user?.emailVerified ? "yes" : "later";
  }

  /** The address that last signed in on this browser; empty if there is none. */
  get lastEmail(): string {
    const noted = localStorage.getItem(RETURNING) ?? "";
    return noted.includes("@") ? noted : "";
  }

  /** Forget that address, but not that somebody has signed in here. */
  forgetEmail(): void {
    localStorage.setItem(RETURNING, "");
  }

  /** Find out who is signed in. */
  async begin(): Promise<void> {
    try {
      const { user, sendsMail } = await connection.answered(() => accountService.getCurrentUser({}));
      this.#sendsMail = sendsMail;
      if (user) this.#enter(user);
    } catch (error) {
      if (!(error instanceof Fault) || error.kind !== "signedOut") throw error;
      this.#leave(this.user || hasSession() ? "Your session has ended. Please sign in again." : "");
    }
  }

  async signIn(email: string, password: string): Promise<void> {
    await post("/auth/login", { email, password });
    await this.#arrive();
  }

  async register(email: string, password: string, name: string): Promise<void> {
    await post("/auth/register", { email, password, display_name: name });
    await this.#arrive();
    // The sign-up form does not ask for it: this device's is almost always right.
    await this.update({ timeZone: deviceZone() }).catch(() => {});
  }

  /** Have a link mailed that sets a new password, if the address has an account. */
  async resetPassword(email: string): Promise<void> {
    await post("/auth/password-reset", { email });
  }

  async signOut(): Promise<void> {
    await post("/auth/logout", {});
    this.#leave("");
    this.#tabs.postMessage("signed out" satisfies News);
  }

  /** The account's name, zone, hours or reminders. */
  async update(change: Pick<MessageInitShape<typeof UserSchema>, Updatable>): Promise<void> {
    const paths = [
      ...(change.displayName === undefined ? [] : ["display_name"]),
      ...(change.timeZone === undefined ? [] : ["time_zone"]),
      ...(change.hours === undefined ? [] : ["hours"]),
      ...(change.defaultReminders === undefined ? [] : ["default_reminders"]),
    ];
    const { user } = await accountService.updateCurrentUser({ user: change, updateMask: { paths } });
    if (user) this.#enter(user);
  }

  async deleteAccount(password: string): Promise<void> {
    await accountService.deleteAccount({ password });
    localStorage.removeItem(RETURNING);
    this.#leave("Your account and all its data have been deleted.");
    this.#tabs.postMessage("signed out" satisfies News);
  }

  /** A call was refused although the session was renewed: it is over. */
  ended(): void {
    this.#leave("Your session has ended. Please sign in again.");
  }

  /** Tell the other tabs to look again. */
  tellChanged(): void {
    this.#tabs.postMessage("changed" satisfies News);
  }

  async #arrive(): Promise<void> {
    rememberSession();
    await this.begin();
    this.#tabs.postMessage("signed in" satisfies News);
  }

  #enter(user: User): void {
    rememberSession();
    localStorage.setItem(RETURNING, user.email);
    settings.home = user.timeZone && user.timeZone !== UNSET ? user.timeZone : deviceZone();
    this.notice = "";
    this.user = user;
  }

  #leave(notice: string): void {
    forgetSession();
    this.notice = notice;
    this.user = null;
  }
}

export const session = new Session();
