/** Rules of booking: what managers ask of whoever books something, and which of them a time breaks. */
import type { BookingRules } from "../../gen/appointments/v1/resources_pb.js";
import { durationFromMs, durationMs, type Duration } from "@bufbuild/protobuf/wkt";

import type { Span } from "../time/spans.ts";
import { DAY, HOUR, MINUTE, minuteOf, wallAt } from "../time/zones.ts";
import { closed, type Opened } from "./hours.ts";

/** Lengths in milliseconds; what is 0 or false asks nothing. */
export interface Rules {
  readonly minNotice: number;
  readonly horizon: number;
  readonly minDuration: number;
  readonly maxDuration: number;
  readonly step: number;
  readonly changeNotice: number;
  /** How many may begin on a day. */
  readonly dailyLimit: number;
  readonly withinHours: boolean;
  /** Nothing may be booked, moved or deleted any more once it has begun. */
  readonly notPast: boolean;
}

const LENGTHS = ["minNotice", "horizon", "minDuration", "maxDuration", "step", "changeNotice"] as const;

/** The plain form of a message. */
export function rulesOf(message: BookingRules | undefined): Rules {
  const length = (duration: Duration | undefined): number => (duration ? durationMs(duration) : 0);
  const [minNotice, horizon, minDuration, maxDuration, step, changeNotice] = LENGTHS.map((name) =>
    length(message?.[name]),
  ) as [number, number, number, number, number, number];
  return {
    ...{ minNotice, horizon, minDuration, maxDuration, step, changeNotice },
    dailyLimit: message?.dailyLimit ?? 0,
    withinHours: message?.withinHours ?? false,
    notPast: message?.pastChanges === false,
  };
}

/** Rules as a request has them. */
export interface RulesInit extends Partial<Record<(typeof LENGTHS)[number], Duration>> {
  dailyLimit: number;
  withinHours: boolean;
  pastChanges?: boolean;
}

/** The other way round. */
export function toRules(rules: Rules): RulesInit {
  const lengths = LENGTHS.filter((name) => rules[name] > 0).map((name) => [
    name,
    durationFromMs(rules[name]),
  ]);
  return {
    ...(Object.fromEntries(lengths) as Partial<Record<(typeof LENGTHS)[number], Duration>>),
    dailyLimit: rules.dailyLimit,
    withinHours: rules.withinHours,
    ...(rules.notPast ? { pastChanges: false } : {}),
  };
}

/** "45 min", "2 h", "3 days" */
export function longText(length: number): string {
  if (length % DAY === 0) return length === DAY ? "1 day" : `${length / DAY} days`;
  return length % HOUR === 0 ? `${length / HOUR} h` : `${length / MINUTE} min`;
}

/** What somebody's or something's hours and rules are about. */
export interface Terms {
  readonly hours: Opened | undefined;
  readonly timeZone: string;
  readonly rules: Rules;
}

/** Why its rules do not allow that it is booked then, "" if they do. How much is booked on a day is not known here. */
export function refusal({ hours, timeZone, rules }: Terms, wanted: Span, now: number): string {
  const { start, end } = wanted;
  const length = end - start;
  if (rules.withinHours && closed(hours, timeZone, wanted).length > 0) return "Closed then";
  if (rules.notPast && start < now) return "Not in the past";
  if (rules.minNotice && start < now + rules.minNotice) return `${longText(rules.minNotice)} ahead at least`;
  if (rules.horizon && start > now + rules.horizon) return `${longText(rules.horizon)} ahead at most`;
  if (length < rules.minDuration) return `For ${longText(rules.minDuration)} at least`;
  if (rules.maxDuration && length > rules.maxDuration) return `For ${longText(rules.maxDuration)} at most`;
  if (rules.step) {
    const wall = wallAt(start, timeZone);
    const sinceMidnight = minuteOf(wall) * MINUTE + (Number(wall.slice(17)) || 0) * 1000;
    if (sinceMidnight % rules.step !== 0) return `Begins every ${longText(rules.step)}`;
  }
  return "";
}
