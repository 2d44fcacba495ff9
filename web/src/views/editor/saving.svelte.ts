/** Saving what is in the editor, and what to do about each answer that is not yes. */
import { changes, taken, type Booked, type Spec } from "../../lib/calendar/appointment.ts";
import { breachOf, type Breach } from "../../lib/calendar/breach.ts";
import type { Obstacles } from "../../lib/calendar/conflict.ts";
import {
  draftOf,
  serverErrors,
  specOf,
  validate,
  type Draft,
  type FieldName,
} from "../../lib/calendar/draft.ts";
import { book, change, collisionsOf, type Collisions, type Scope } from "../../lib/calendar/series.ts";
import { besidesOwnHolds, Hold } from "../../lib/calendar/hold.svelte.ts";
import { lettersOf, NOBODY, type Letters } from "../../lib/calendar/letters.ts";
import { store } from "../../lib/calendar/store.svelte.ts";
import { Fault, faultOf } from "../../lib/net/faults.ts";
import { session } from "../../lib/net/session.svelte.ts";
import { uuid } from "../../lib/net/uuid.ts";
import { nearestFree, type Span } from "../../lib/time/spans.ts";
import { DAY, dayOf, instantOf, MINUTE, moved, wallAt } from "../../lib/time/zones.ts";

/** Why it is not saved, where that is about the whole appointment. */
export type Problem =
  /** The time is taken; `free` is the nearest time of that day that is not. */
  | { kind: "conflict"; obstacles: Obstacles; wanted: Span; free: Span | null }
  /** Somebody else has changed it since it was opened. */
  | { kind: "stale"; theirs: Booked; base: Booked }
  /** Occurrences of a series find no place. */
  | { kind: "series"; collisions: Collisions }
  /** A rule of a room does not allow it; whoever manages the room may decide otherwise. */
  | { kind: "rule"; text: string; mayOverride: boolean }
  /** Somebody else has deleted it. */
  | { kind: "deleted" }
  | { kind: "failure"; text: string };

/** What was saved. */
export interface Saved {
  readonly booked: Booked;
  /** For which occurrences. */
  readonly scope: Scope;
  /** Brings back what was there before; null where there was nothing. */
  readonly undo: (() => Promise<unknown>) | null;
  /** Who hears of it. */
  readonly letters: Letters;
}

/** Buffers reach at most a day further than their appointments. */
const wide = ({ start, end }: Span): Span => ({ start: start - DAY, end: end + DAY });

/** When one of these resources cannot be had. */
async function blocked(resourceIds: readonly string[], day: Span, besides?: string): Promise<Span[]> {
  if (resourceIds.length === 0) return [];
  const { resources } = await import("../../lib/calendar/resources.svelte.ts");
  const known = resourceIds.flatMap((id) => resources.find(id) ?? []);
  return (await Promise.all(known.map((resource) => resources.blocked(resource, wide(day), besides)))).flat();
}

/** What rules of booking judge, so that leave to break one is for nothing else. */
const judged = ({ start, end, resourceIds }: Spec): string => JSON.stringify([start, end, resourceIds]);

/** What the changed fields were. */
const pick = (base: Spec, changed: Partial<Spec>): Partial<Spec> =>
  Object.fromEntries((Object.keys(changed) as (keyof Spec)[]).map((name) => [name, base[name]]));

export class Saving {
  busy = $state(false);
  errors = $state<Partial<Record<FieldName | "other", string>>>({});
  problem = $state.raw<Problem | null>(null);
  /** Whether the person wants it against the rule that `problem` is about. */
  overrides = $state(false);
  /** What keeps the rooms of something new while it is written. */
  readonly hold = new Hold((fault, spec) => void this.#refused(fault, spec));
  #draft: Draft;
  #onsessionend: () => void;
  #abort = new AbortController();
  #attempt = { body: "", id: "" };
  /** Which occurrences are changed; null until the person has said so. */
  #scope: Scope | null = null;
  /** The rule that the series had when it was read; null until it is read. */
  #rule: string | null = null;
  /** What the hold's refusal said; it is forgotten once something else is wanted. */
  #early: Problem | null = null;
  /** What the rule was about. */
  #ruled = "";
  /** Counts what was wanted of the hold. */
  #wanted = 0;
  /** Whether occurrences that find no place are left out. */
  #skip = false;

  constructor(draft: Draft, onsessionend: () => void) {
    this.#draft = draft;
    this.#onsessionend = onsessionend;
  }

  /** Save it; null if that failed, and then `errors` and `problem` say why. */
  async save(): Promise<Saved | null> {
    if (this.busy) return null;
    this.forget();
    const spec = specOf(this.#draft);
    this.errors = validate(spec);
    if (Object.keys(this.errors).length > 0) return null;
    this.busy = true;
    try {
      return await this.#send(spec);
    } catch (error) {
      await this.#report(faultOf(error), spec);
      return null;
    } finally {
      this.busy = false;
    }
  }

  /** The rule of the series that it belongs to. */
  known(rule: string): void {
    this.#rule = rule;
  }

  /** Whether the person has to say which occurrences a change is for, and whether that may be this one alone. */
  get asksFor(): "nothing" | "any" | "several" {
    const { base } = this.#draft;
    if (!base?.seriesId) return "nothing";
    if (this.#isRuleChanged) return "several";
    return Object.keys(changes(specOf(this.#draft), base)).length > 0 ? "any" : "nothing";
  }

  get #isRuleChanged(): boolean {
    return this.#rule !== null && this.#draft.rule !== this.#rule;
  }

  /** Save it for these occurrences. */
  async saveFor(scope: Scope): Promise<Saved | null> {
    this.#scope = scope;
    return this.save();
  }

  /** Save it without the occurrences that find no place. */
  async saveOthers(): Promise<Saved | null> {
    this.#skip = true;
    try {
      return await this.save();
    } finally {
      this.#skip = false;
    }
  }

  /** Stop waiting for an answer. */
  abort(): void {
    this.#abort.abort();
  }

  forget(): void {
    this.errors = {};
    this.problem = null;
  }

  /** Keep the rooms for as long as the editor is open, if there are any. */
  keep(): void {
    const { base, rule } = this.#draft;
    const spec = specOf(this.#draft);
    const isWanted = !base && !rule && spec.resourceIds.length > 0 && spec.end > spec.start;
    if (!this.hold.want(isWanted ? spec : null)) return;
    this.#wanted++;
    if (this.#early && this.problem === this.#early) this.problem = null;
  }

  /** Move the draft to a free time. */
  useTime({ start, end }: Span): void {
    this.#draft.starts = wallAt(start, this.#draft.timeZone).slice(0, 16);
    this.#draft.ends = wallAt(end, this.#draft.timeZone).slice(0, 16);
    this.forget();
  }

  /** Give up what was typed for what somebody else has made of it. */
  takeTheirs(): void {
    if (this.problem?.kind === "stale") Object.assign(this.#draft, draftOf(this.problem.theirs));
    this.forget();
  }

  /** Save on top of theirs: only what was changed here is sent, the rest stays as they made it. */
  async keepMine(): Promise<Saved | null> {
    if (this.problem?.kind !== "stale") return null;
    const { theirs, base } = this.problem;
    const mine = changes(specOf(this.#draft), base);
    Object.assign(this.#draft, draftOf({ ...theirs, ...mine }), { base: theirs });
    return this.save();
  }

  /** Bring back what somebody else has deleted, with what was typed here. */
  async restore(): Promise<Saved | null> {
    const { base } = this.#draft;
    if (!base) return null;
    try {
      this.#draft.base = { ...base, etag: (await store.restore(base.id)).etag };
    } catch (error) {
      await this.#report(faultOf(error), specOf(this.#draft));
      return null;
    }
    return this.save();
  }

  async #send(spec: Spec): Promise<Saved> {
    this.#abort = new AbortController();
    const { base } = this.#draft;
    const overrides = this.overrides && this.#ruled === judged(spec);
    if (base) {
      const changed = changes(spec, base);
      const rule = this.#isRuleChanged ? this.#draft.rule : null;
      if (Object.keys(changed).length === 0 && rule === null)
        return { booked: base, scope: "this", undo: null, letters: NOBODY };
      if (base.seriesId && this.#scope && this.#scope !== "this") {
        const scope = this.#scope;
        const done = await change(base, changed, rule, scope, this.#skip, this.#abort.signal);
        return { ...done, scope, letters: this.#letters(spec, rule !== null) };
      }
      const { signal } = this.#abort;
      const booked = await besidesOwnHolds(spec, () => store.change(base, changed, signal, overrides));
      const undo = (): Promise<Booked> => store.change(booked, pick(base, changed), undefined, overrides);
      return { booked, scope: "this", undo, letters: this.#letters(spec) };
    }
    const { rule } = this.#draft;
    const body = JSON.stringify([spec, rule, this.#skip, overrides]);
    // One id for one body: a retry books once, another body is another booking.
    if (this.#attempt.body !== body) this.#attempt = { body, id: uuid() };
    const booked = await this.#book(spec, rule, this.#attempt.id, overrides);
    return { booked, scope: "this", undo: null, letters: this.#letters(spec) };
  }

  /** Who hears of the change to this. Of what is over nobody does, but a series may go on. */
  #letters(spec: Spec, isRuleChanged = false): Letters {
    const { base, rule } = this.#draft;
    if (spec.end <= Date.now() && !rule && !base?.seriesId) return NOBODY;
    return lettersOf(base, spec, session.user?.email ?? "", isRuleChanged);
  }

  /** Book something new: where there is a hold of it, the hold becomes the appointment. */
  async #book(spec: Spec, rule: string, requestId: string, overrides: boolean): Promise<Booked> {
    const { signal } = this.#abort;
    const held = await this.hold.take();
    if (held && !rule) {
      try {
        const change = (): Promise<Booked> => store.change(held, changes(spec, held), signal, overrides);
        return await store.confirm(await besidesOwnHolds(spec, change, held.id), signal);
      } catch (error) {
        // Where it has expired, the appointment is booked as if it had never been there.
        if (faultOf(error).kind !== "missing") {
          this.hold.giveBack(held);
          throw error;
        }
      }
    }
    if (held && rule) await this.hold.drop(held);
    return besidesOwnHolds(spec, () =>
      rule
        ? book(spec, rule, requestId, this.#skip, signal)
        : store.create(spec, requestId, signal, overrides),
    );
  }

  /** The hold could not be had: what is in its way is in the way of the appointment too. */
  async #refused(fault: Fault, spec: Spec): Promise<void> {
    if (this.busy || this.problem) return;
    const wanted = this.#wanted;
    await this.#report(fault, spec);
    this.#early = this.problem;
    if (wanted !== this.#wanted) this.problem = null;
  }

  async #report(fault: Fault, spec: Spec): Promise<void> {
    if (fault.kind === "signedOut") return this.#onsessionend();
    if (fault.kind === "conflict") return this.#reportConflict(fault, spec);
    const collisions = collisionsOf(fault);
    if (collisions) {
      this.problem = { kind: "series", collisions };
      return;
    }
    const breach = await breachOf(fault);
    if (breach) return this.#reportRule(breach, spec);
    if (fault.kind === "stale") return this.#reportStale();
    if (fault.kind === "missing") {
      this.problem = { kind: "deleted" };
      return;
    }
    this.errors = serverErrors(fault.fields);
    const text = this.errors.other ?? (fault.fields.length > 0 ? "" : fault.message);
    if (text) this.problem = { kind: "failure", text };
  }

  #reportRule({ text, mayOverride }: Breach, spec: Spec): void {
    const isSeries = !!this.#draft.rule && (!this.#draft.base || this.#scope !== "this");
    this.overrides = false;
    this.#ruled = judged(spec);
    this.problem = { kind: "rule", text, mayOverride: mayOverride && !isSeries };
  }

  async #reportConflict(fault: Fault, { start, end }: Spec): Promise<void> {
    const wanted = { start, end };
    const obstacles = await store.obstacles(fault);
    this.problem = {
      kind: "conflict",
      obstacles,
      wanted,
      free: await this.#nearest(wanted).catch(() => null),
    };
  }

  /** The nearest time of that day at which the person and everything that is asked for are free. */
  async #nearest(span: Span): Promise<Span | null> {
    const { base, timeZone, allDay } = this.#draft;
    if (allDay) return null;
    const midnight = `${dayOf(wallAt(span.start, timeZone))}T00:00`;
    const day = {
      start: instantOf(midnight, timeZone),
      end: instantOf(moved(midnight, { days: 1 }), timeZone),
    };
    const { resourceIds, bufferBefore, bufferAfter } = specOf(this.#draft);
    const own = (await store.list(wide(day))).filter(({ id }) => id !== base?.id);
    const spans = [
      ...own.flatMap((booked) => taken(booked) ?? []),
      ...(await blocked(resourceIds, day, base?.id)),
    ];
    const avoided = spans.map(({ start, end }) => ({ start: start - bufferAfter, end: end + bufferBefore }));
    const now = Math.ceil(Date.now() / (15 * MINUTE)) * 15 * MINUTE;
    return nearestFree(span, avoided, day, span.start >= Date.now() ? now : -Infinity);
  }

  async #reportStale(): Promise<void> {
    const { base } = this.#draft;
    if (!base) return;
    try {
      const theirs = await store.read(base.id);
      this.problem = theirs.deleted ? { kind: "deleted" } : { kind: "stale", theirs, base };
    } catch (error) {
      this.problem = { kind: "failure", text: faultOf(error).message };
    }
  }
}
