/** Which appointments are no more than holds of an editor. */
import type { Booked } from "./appointment.ts";

/** The description of such a hold. Whoever lists the appointments elsewhere reads it too. */
export const HELD_BY_EDITOR = "Kept by the calendar page while an appointment is being written.";

/** The holds of this page, by id: shortly before they become appointments they have another description. */
export const holdsOfThisPage = new Set<string>();

export const isHeldByEditor = ({ id, held, description }: Booked): boolean =>
  held && (description === HELD_BY_EDITOR || holdsOfThisPage.has(id));
