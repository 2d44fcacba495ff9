/** Changes that can be undone: moving, what was saved in the editor, deleting. */
import { changes, type Booked } from "../../lib/calendar/appointment.ts";
import { breachOf } from "../../lib/calendar/breach.ts";
import { conflictText } from "../../lib/calendar/conflict.ts";
import { lettersOf, NOBODY, sentText } from "../../lib/calendar/letters.ts";
import { store, type Move } from "../../lib/calendar/store.svelte.ts";
import { faultOf, type Fault } from "../../lib/net/faults.ts";
import { session } from "../../lib/net/session.svelte.ts";
import { settings } from "../../lib/settings.svelte.ts";
import { spanWithDayText } from "../../lib/time/format.ts";
import type { Scope } from "../../lib/calendar/series.ts";
import type { Span } from "../../lib/time/spans.ts";
import { toast } from "../../lib/toast.svelte.ts";

export interface Context {
  /** Show a failure that is about nothing in particular. */
  report: (error: unknown, prefix?: string) => void;
  /** Ask the server again for what is shown. */
  refresh: () => Promise<void>;
  focus: (id?: string) => void;
}

/** Move it; `overrides` is for whoever manages its rooms, and has decided to go past their rules. */
export async function move(id: string, to: Move, context: Context, overrides = false): Promise<void> {
  const before = store.find(id);
  if (!before) return;
  try {
    const booked = await store.move(id, to, overrides);
    const moved = before.seriesId ? "Only this one was moved to" : "Moved to";
    const letters = booked.end > Date.now() ? lettersOf(before, booked, session.user?.email ?? "") : NOBODY;
    const sent = sentText(letters, session.mail);
    toast.show(`${moved} ${spanWithDayText(booked.start, booked.end, settings.timeStyle)}.${sent}`, {
      label: "Undo",
      run: () =>
        void move(
          id,
          { start: before.start, end: before.end, resourceIds: before.resourceIds },
          context,
          overrides,
        ),
    });
    // The button that was pressed is gone.
    if (overrides) context.focus(id);
  } catch (error) {
    await reportMove(before, to, error, context);
  }
}

async function reportMove(before: Booked, to: Move, error: unknown, context: Context): Promise<void> {
  const { report, refresh } = context;
  const fault = faultOf(error);
  const back = `“${before.title}” was not moved. `;
  if (await reportBreach(fault, back, "Move", () => void move(before.id, to, context, true))) return;
  if (fault.kind === "conflict")
    toast.alert(back + conflictText(await store.obstacles(fault), to, settings.timeStyle));
  else if (fault.kind === "stale" || fault.kind === "missing") {
    const what = fault.kind === "stale" ? "changed" : "deleted";
    await refresh(); // The message must describe what is on the screen.
    toast.alert(
      `“${before.title}” was not moved, because it was ${what} somewhere else. You see its current state.`,
    );
  } else report(fault, back);
}

/** If a rule of a room is broken, name both, and let whoever manages the room decide otherwise. */
async function reportBreach(fault: Fault, what: string, verb = "", anyway?: () => void): Promise<boolean> {
  const breach = await breachOf(fault);
  if (!breach) return false;
  if (breach.mayOverride && anyway)
    toast.alert(`${what}${breach.text} As its manager you may override the rule; that is recorded.`, {
      label: `${verb} anyway`,
      run: anyway,
    });
  else toast.alert(what + breach.text);
  return true;
}

/** Move this occurrence and those that follow, or all of its series, by as much as this one was moved. */
export async function moveSeries(
  before: Booked,
  to: Move,
  scope: "following" | "all",
  context: Context,
): Promise<void> {
  try {
    const series = await import("../../lib/calendar/series.ts");
    const { booked, undo } = await series.change(
      before,
      changes({ ...before, ...to }, before),
      null,
      scope,
      false,
    );
    offerUndo(booked, scope, undo, context);
    await context.refresh();
  } catch (error) {
    await reportRefusal(error, `${nameOf(before, scope)} was not moved`, before, context);
  }
}

/** Say that it was changed, and offer to change it back. */
export function offerUndo(
  booked: Booked,
  scope: Scope,
  undo: () => Promise<unknown>,
  context: Context,
  sent = "",
): void {
  const name = nameOf(booked, scope);
  const run = (): void =>
    void undo().then(
      () => {
        toast.show(`Undone: ${name} is as it was before.`);
        context.focus(booked.id);
      },
      (error: unknown) => reportRefusal(error, `${name} was not changed back`, booked, context),
    );
  toast.show(`Saved ${name}.${sent}`, { label: "Undo", run });
}

const nameOf = ({ title }: Booked, scope: Scope): string =>
  ({ this: `“${title}”`, following: `“${title}” from this one on`, all: `all of “${title}”` })[scope];

/** Say why the server has refused a change. */
async function reportRefusal(error: unknown, what: string, wanted: Span, context: Context): Promise<void> {
  const fault = faultOf(error);
  const said = what[0]?.toUpperCase() + what.slice(1);
  if (fault.kind === "conflict")
    return toast.alert(`${said}. ${conflictText(await store.obstacles(fault), wanted, settings.timeStyle)}`);
  const { collisionsOf, collisionsText } = await import("../../lib/calendar/series.ts");
  const collisions = collisionsOf(fault);
  if (collisions) return toast.alert(`${said}. ${collisionsText(collisions, settings.timeStyle)}`);
  if (await reportBreach(fault, `${said}. `)) return;
  if (fault.kind !== "stale" && fault.kind !== "missing") return context.report(fault, `${said}. `);
  await context.refresh(); // The message must describe what is on the screen.
  toast.alert(`${said}, because it was ${fault.kind === "stale" ? "changed" : "deleted"} somewhere else.`);
}

/** Delete it; `overrides` as for a move. */
export async function remove(booked: Booked, context: Context, overrides = false): Promise<void> {
  toast.show(`Deleted “${booked.title}”.`, {
    label: "Undo",
    run: () => void restore(booked, context, overrides),
  });
  if (overrides) context.focus();
  try {
    await store.remove(booked, overrides);
  } catch (error) {
    const fault = faultOf(error);
    const back = `“${booked.title}” was not deleted. `;
    if (await reportBreach(fault, back, "Delete", () => void remove(booked, context, true))) return;
    if (fault.kind !== "stale" && fault.kind !== "missing") return context.report(fault, back);
    if (fault.kind === "stale")
      toast.alert(`“${booked.title}” was not deleted, because it was changed somewhere else.`);
    await context.refresh();
  }
}

/** Delete this occurrence and those that follow, or all of its series. */
export async function removeSeries(
  booked: Booked,
  scope: "following" | "all",
  { report, refresh }: Context,
): Promise<void> {
  const name = `“${booked.title}”`;
  const what = scope === "all" ? `all of ${name}` : `${name} from this one on`;
  try {
    // Few people repeat what they do and then delete it: what knows series comes only then.
    const series = await import("../../lib/calendar/series.ts");
    const restoreAll = await series.remove(booked, scope);
    const run = (): void =>
      void restoreAll().then(
        () => toast.show(`Restored ${what}.`),
        (error: unknown) => {
          report(error, `${name} was not restored. `);
        },
      );
    toast.show(`Deleted ${what}.`, { label: "Undo", run });
  } catch (error) {
    report(error, `${name} was not deleted. `);
    await refresh();
  }
}

async function restore(booked: Booked, context: Context, overrides = false): Promise<void> {
  try {
    await store.restore(booked.id, overrides);
    toast.show(`Restored “${booked.title}”.`);
    context.focus(booked.id);
  } catch (error) {
    const fault = faultOf(error);
    const back = `“${booked.title}” was not restored. `;
    if (await reportBreach(fault, back, "Restore", () => void restore(booked, context, true))) return;
    if (fault.kind !== "conflict") return context.report(fault);
    const reason = conflictText(await store.obstacles(fault), booked, settings.timeStyle);
    toast.alert(back + reason);
  }
}
