/** A rule of booking that the server has refused something for: whose it is, and whether the person may go past it. */
import type { Fault } from "../net/faults.ts";

export interface Breach {
  /** The rule in words, with the name of the room. */
  readonly text: string;
  /** Whether the person manages the room, and so may decide otherwise. */
  readonly mayOverride: boolean;
}

/** The rule that a failure is about; null if it is about something else. */
export async function breachOf(fault: Fault): Promise<Breach | null> {
  if (fault.reason !== "BOOKING_RULE") return null;
  // Few rooms have rules, and few of those who book break one: what knows rooms comes only then.
  const { canManage, resources } = await import("./resources.svelte.ts");
  const id = fault.metadata["subject_id"] ?? "";
  if (!resources.find(id)) await resources.load().catch(() => {});
  const resource = resources.find(id);
  if (!resource) return { text: fault.message, mayOverride: false };
  return {
    text: fault.message.replace(`the resource ${id}`, resource.name),
    mayOverride: canManage(resource),
  };
}
