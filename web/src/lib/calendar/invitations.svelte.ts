/** What the person is invited to and has not answered yet: how many there are, the nearest of them, and answering them. */
import type { AttendeeResponse } from "../../gen/appointments/v1/appointments_pb.js";
import { fromMessage, type Booked } from "./appointment.ts";
import { store } from "./store.svelte.ts";

/** One line of the list. */
export interface Open {
  readonly booked: Booked;
  /** It stands for a whole series, of which so many occurrences are to come. */
  readonly wholeSeries: boolean;
  readonly occurrences: number;
}

/** An answer, and what goes with it. */
export interface Answer {
  readonly response: AttendeeResponse;
  readonly comment?: string;
  readonly follow?: boolean;
  readonly wholeSeries: boolean;
}

// The first sight of the calendar does not wait for it.
const client = () => import("../net/invitations.ts");

class Invitations {
  nearest = $state.raw<readonly Open[]>([]);
  total = $state(0);
  #asked = 0;

  /** Ask again; of several at once the last counts. */
  async refresh(): Promise<void> {
    const asked = ++this.#asked;
    const { invitationService } = await client();
    const found = await invitationService.listOpenInvitations({});
    if (asked !== this.#asked) return;
    this.total = found.totalSize;
    this.nearest = found.invitations.flatMap(({ appointment, wholeSeries, occurrenceCount }) =>
      appointment ? [{ booked: fromMessage(appointment), wholeSeries, occurrences: occurrenceCount }] : [],
    );
  }

  /** Answer one, or its whole series; then the calendar and the list are as the server has them. */
  async answer(booked: Booked, answer: Answer): Promise<void> {
    const { invitationService } = await client();
    store.told(await invitationService.respondToInvitation({ appointmentId: booked.id, ...answer }));
    this.nearest = this.nearest.filter((open) => open.booked.id !== booked.id);
    // It is answered, whether or not these can be had now.
    await Promise.allSettled([this.refresh(), answer.wholeSeries ? store.refresh() : undefined]);
  }

  /** Forget everything, for whoever signs in next. */
  clear(): void {
    this.#asked++;
    this.nearest = [];
    this.total = 0;
  }
}

export const invitations = new Invitations();
