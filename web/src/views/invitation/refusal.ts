/** Why an answer to an invitation was not taken. */
import type { Booked } from "../../lib/calendar/appointment.ts";
import { conflictText } from "../../lib/calendar/conflict.ts";
import { collisionsOf, collisionsText } from "../../lib/calendar/series.ts";
import { store } from "../../lib/calendar/store.svelte.ts";
import { faultOf } from "../../lib/net/faults.ts";
import { settings } from "../../lib/settings.svelte.ts";

/** It in words; null if the session has ended. */
export async function refusal(error: unknown, booked: Booked): Promise<string | null> {
  const fault = faultOf(error);
  if (fault.kind === "signedOut") return null;
  if (fault.kind === "conflict")
    return conflictText(await store.obstacles(fault), booked, settings.timeStyle);
  const collisions = collisionsOf(fault);
  if (!collisions) return fault.message;
  return `${collisionsText(collisions, settings.timeStyle)} Nothing was accepted; you can answer each by itself.`;
}
