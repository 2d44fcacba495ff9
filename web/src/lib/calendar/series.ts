/** Series: appointments that repeat. Booking one, changing and deleting some or all of it, and bringing it back. */
import { create, toJson, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";

import {
  OnConflict,
  SeriesConflictInfoSchema,
  SeriesSchema,
  type Series,
  type SeriesConflictInfo,
} from "../../gen/appointments/v1/series_pb.js";
import { connection } from "../net/connection.svelte.ts";
import { Fault, faultOf } from "../net/faults.ts";
import { seriesService } from "../net/series.ts";
import { session } from "../net/session.svelte.ts";
import { dayText, timeText, type TimeStyle } from "../time/format.ts";
import { instantOf, MINUTE, moved, wallAt } from "../time/zones.ts";
import { FIELDS, toMessage, type Booked, type Spec } from "./appointment.ts";
import { list, store } from "./store.svelte.ts";

/** How many collisions are named. */
const NAMED = 5;

/** Which occurrences a change is for. */
export type Scope = "this" | "following" | "all";

/** The occurrences that find no place: when they would be, at most a hundred, and how many there are. */
export interface Collisions {
  readonly starts: readonly number[];
  readonly total: number;
}

/** A change of a series that is done. */
export interface Changed {
  /** The occurrence that it was made at, as it is now. */
  readonly booked: Booked;
  /** Gives every occurrence that was changed what it had before. */
  readonly undo: () => Promise<void>;
}

/** The rule of a series, "" if it has none. */
export async function ruleOfSeries(id: string): Promise<string> {
  return (await connection.answered(() => seriesService.getSeries({ id }))).series?.recurrenceRule ?? "";
}

/** Book every occurrence; with `skip` those whose time is free. The same request id makes a retry safe. */
export async function book(
  spec: Spec,
  rule: string,
  requestId: string,
  skip: boolean,
  signal: AbortSignal,
): Promise<Booked> {
  const series = create(SeriesSchema, { ...fieldsOf(spec), recurrenceRule: rule });
  const request = { series, requestId, onConflict: onConflict(skip) };
  const answer = await connection.saved(() => seriesService.createSeries(request), signal);
  return firstOf(told(answer), spec);
}

/**
 * Change this occurrence and those that follow, or all. Times move by as much as this one moves; a change of the rule
 * holds from there on.
 */
export async function change(
  base: Booked,
  changed: Partial<Spec>,
  rule: string | null,
  scope: "following" | "all",
  skip: boolean,
  signal?: AbortSignal,
): Promise<Changed> {
  const { series } = await seriesService.getSeries({ id: base.seriesId });
  if (!series?.startTime) throw new Fault("missing", "This series is gone.");
  const spec = { ...base, ...changed };
  const times = timesOf(base, spec, scope === "all" ? timestampMs(series.startTime) : base.originalStart);
  const isMoved = changed.start !== undefined || changed.end !== undefined || changed.timeZone !== undefined;
  const fields = (Object.keys(changed) as (keyof Spec)[]).map((name) => FIELDS[name]);
  const paths = [
    ...new Set([
      ...fields,
      ...(isMoved ? ["start_time", "end_time"] : []),
      ...(rule === null ? [] : ["recurrence_rule"]),
    ]),
  ];
  const request = {
    series: create(SeriesSchema, {
      ...fieldsOf({ ...spec, ...times }),
      id: series.id,
      recurrenceRule: rule ?? "",
    }),
    updateMask: { paths },
    fromAppointmentId: scope === "following" ? base.id : "",
    onConflict: onConflict(skip),
  };
  const now = told(await connection.saved(() => seriesService.updateSeries(request), signal));
  if (now.id === series.id) return { booked: { ...spec }, undo: () => takeBack(series, now, paths) };
  const kept = (await connection.answered(() => seriesService.getSeries({ id: series.id }))).series;
  return { booked: { ...spec }, undo: () => rejoin(series, kept?.etag ?? "", now) };
}

/** Give a series the fields that it had before a change, if nobody has changed it since. */
async function takeBack(before: Series, now: Series, paths: string[]): Promise<void> {
  const series = create(SeriesSchema, { ...before, etag: now.etag });
  await giveBack({ series, updateMask: { paths } });
}

/** Make one series again of what was split, if nobody has changed either part since. */
async function rejoin(before: Series, etag: string, now: Series): Promise<void> {
  const series = create(SeriesSchema, { ...before, etag });
  const updateMask = { paths: ["recurrence_rule", "added_times", "excluded_times"] };
  await giveBack({ series, updateMask, rejoinSeriesId: now.id, rejoinEtag: now.etag });
}

async function giveBack(request: {
  series: Series;
  updateMask: { paths: string[] };
  rejoinSeriesId?: string;
  rejoinEtag?: string;
}): Promise<void> {
  const { series, updateMask } = request;
  const send = async (again: boolean): Promise<void> => {
    try {
      await seriesService.updateSeries(request);
    } catch (error) {
      // The answer of an earlier try may have got lost: then the series is as we want it.
      if (!again || !["stale", "missing"].includes(faultOf(error).kind)) throw error;
      const found = (await seriesService.getSeries({ id: series.id })).series;
      if (!found || !agree(found, series, updateMask.paths)) throw error;
    }
  };
  await connection.saved(send);
  await learned();
}

/** Whether two series agree in these fields. */
function agree(one: Series, other: Series, paths: readonly string[]): boolean {
  const [these, those] = [one, other].map((each) => toJson(SeriesSchema, each) as Record<string, unknown>);
  const names = paths.map((path) => path.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()));
  return names.every((name) => JSON.stringify(these?.[name]) === JSON.stringify(those?.[name]));
}

/** What a series that begins at `from` has to begin and end at, so that an occurrence gets the wanted times. */
function timesOf(base: Booked, wanted: Spec, from: number): { start: number; end: number } {
  const wall = (at: number, zone: string): string => wallAt(at, zone).slice(0, 16);
  const by =
    Date.parse(`${wall(wanted.start, wanted.timeZone)}Z`) - Date.parse(`${wall(base.start, base.timeZone)}Z`);
  const start = instantOf(
    moved(wall(from, base.timeZone), { minutes: by / MINUTE }).slice(0, 16),
    wanted.timeZone,
  );
  return { start, end: start + (wanted.end - wanted.start) };
}

/** Delete this occurrence and those that follow, or all; returns what brings them back. */
export async function remove(base: Booked, scope: "following" | "all"): Promise<() => Promise<void>> {
  const id = base.seriesId;
  const restore = scope === "all" ? () => restoreAll(id) : await restoreFrom(base);
  const fromAppointmentId = scope === "following" ? base.id : "";
  await connection.saved(() => seriesService.deleteSeries({ id, fromAppointmentId }));
  await learned();
  return async () => {
    await restore();
    await learned();
  };
}

async function restoreAll(id: string): Promise<void> {
  await connection.saved(() => seriesService.undeleteSeries({ id }));
}

/** What brings an occurrence and those that follow back: the rule first, then each that was there. */
async function restoreFrom(base: Booked): Promise<() => Promise<void>> {
  const id = base.seriesId;
  const before = (await connection.answered(() => seriesService.getSeries({ id }))).series;
  if (!before) throw new Fault("missing", "This series is gone.");
  const following = await list({ start: base.start }, "", id);
  return async () => {
    const series = create(SeriesSchema, { ...before, etag: "" });
    const updateMask = { paths: ["recurrence_rule", "added_times", "excluded_times"] };
    await connection.saved(() => seriesService.updateSeries({ series, updateMask }));
    for (const occurrence of following) await store.restore(occurrence.id);
  };
}

/** "2 of these times are taken: Thu 23 May, 12:00; Thu 30 May, 12:00." */
export function collisionsText({ starts, total }: Collisions, timeStyle: TimeStyle): string {
  const named = starts
    .slice(0, NAMED)
    .map((start) => `${dayText(start, timeStyle)}, ${timeText(start, timeStyle)}`);
  const many = total === 1 ? "One of these times is" : `${total} of these times are`;
  return `${many} taken: ${named.join("; ")}${total > NAMED ? " …" : "."}`;
}

/** The collisions of a failure; null if it is about something else. */
export function collisionsOf(fault: Fault): Collisions | null {
  const info = fault.status?.findDetails(SeriesConflictInfoSchema)[0];
  return info ? { starts: startsOf(info), total: info.total } : null;
}

const startsOf = (info: SeriesConflictInfo): number[] =>
  info.occurrences.flatMap(({ originalStartTime }) =>
    originalStartTime ? [timestampMs(originalStartTime)] : [],
  );

const onConflict = (skip: boolean): OnConflict => (skip ? OnConflict.SKIP : OnConflict.FAIL);

/** A series has the fields of its appointments. */
function fieldsOf(spec: Spec): Exclude<MessageInitShape<typeof SeriesSchema>, Series> {
  const { title, description, location, startTime, endTime, timeZone, attendees, resourceIds, ...rest } =
    toMessage(spec);
  const { bufferBefore, bufferAfter, transparency, allDay, reminders, noReminders } = rest;
  return {
    ...{ title, description, location, timeZone, attendees, resourceIds, transparency, allDay },
    ...{ reminders, noReminders },
    ...(startTime ? { startTime } : {}),
    ...(endTime ? { endTime } : {}),
    ...(bufferBefore ? { bufferBefore } : {}),
    ...(bufferAfter ? { bufferAfter } : {}),
  };
}

function told(answer: { series?: Series | undefined }): Series {
  if (!answer.series) throw new Fault("other", "The server sent no series.");
  void learned();
  return answer.series;
}

async function learned(): Promise<void> {
  session.tellChanged();
  await store.refresh().catch(() => {});
}

/** The first occurrence, as something to look at: the calendar asks for the rest. */
function firstOf(series: Series, spec: Spec): Booked {
  const start = timestampMs(series.startTime ?? timestampFromMs(spec.start));
  return {
    ...spec,
    id: "",
    ownerId: series.ownerId,
    etag: "",
    deleted: false,
    seriesId: series.id,
    originalStart: start,
    answer: null,
    organizer: null,
    held: false,
  };
}
