/** How an appointment repeats: the rules of RFC 5545 that the editor can write, and any of them in words. */
import { dayAfter } from "../time/zones.ts";

export type Frequency = "DAILY" | "WEEKLY" | "MONTHLY" | "YEARLY";

/** Monday first, as RFC 5545 has them. */
export const WEEKDAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"] as const;
export type Weekday = (typeof WEEKDAYS)[number];

export interface Repeat {
  frequency: Frequency;
  /** Every so many days, weeks, months or years. */
  interval: number;
  /** Of a week; none: that of the start. */
  weekdays: readonly Weekday[];
  /** Of a month: "" is the day of the start, "2TU" its second Tuesday, "-1FR" its last Friday. */
  nth: string;
  /** The last day on which it may happen; "" if a number ends it, or nothing does. */
  until: string;
  /** How often it happens; 0 if a day ends it, or nothing does. */
  count: number;
}

export const WORKDAYS: readonly Weekday[] = WEEKDAYS.slice(0, 5);
export const ONCE_A_WEEK: Repeat = {
  frequency: "WEEKLY",
  interval: 1,
  weekdays: [],
  nth: "",
  until: "",
  count: 0,
};

const NAMES = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const ORDINALS: Readonly<Record<string, string>> = {
  "1": "first",
  "2": "second",
  "3": "third",
  "4": "fourth",
  "5": "fifth",
  "-1": "last",
  "-2": "second last",
};
const UNITS: Readonly<Record<Frequency, string>> = {
  DAILY: "day",
  WEEKLY: "week",
  MONTHLY: "month",
  YEARLY: "year",
};

/** The weekday of a day. */
export const weekdayOf = (day: string): Weekday =>
  WEEKDAYS[(new Date(`${day}T00:00Z`).getUTCDay() + 6) % 7] ?? "MO";

/** Which weekday of its month a day is, from the front and, if it is the last one, from the back. */
export function nthChoices(day: string): string[] {
  const number = Math.ceil(Number(day.slice(8)) / 7);
  const last = dayAfter(day, 7).slice(0, 7) !== day.slice(0, 7);
  return [...(number < 5 ? [`${number}${weekdayOf(day)}`] : []), ...(last ? [`-1${weekdayOf(day)}`] : [])];
}

/** The rule as the contract has it. */
export function ruleOf({ frequency, interval, weekdays, nth, until, count }: Repeat): string {
  const days = frequency === "WEEKLY" ? WEEKDAYS.filter((day) => weekdays.includes(day)).join(",") : "";
  return [
    `FREQ=${frequency}`,
    interval > 1 ? `INTERVAL=${interval}` : "",
    days ? `BYDAY=${days}` : "",
    frequency === "MONTHLY" && nth ? `BYDAY=${nth}` : "",
    until ? `UNTIL=${until.replaceAll("-", "")}` : "",
    count > 0 ? `COUNT=${count}` : "",
  ]
    .filter(Boolean)
    .join(";");
}

/** A rule that the editor could have written; null for any other. */
export function repeatOf(rule: string): Repeat | null {
  const parts = new Map(rule.split(";").map((part) => part.split("=", 2) as [string, string]));
  const frequency = parts.get("FREQ") as Frequency;
  const days = parts.get("BYDAY") ?? "";
  const found: Repeat = {
    frequency,
    interval: Number(parts.get("INTERVAL") ?? 1),
    weekdays: frequency === "WEEKLY" && days ? (days.split(",") as Weekday[]) : [],
    nth: frequency === "MONTHLY" ? days : "",
    until: (parts.get("UNTIL") ?? "").replace(/^(\d{4})(\d\d)(\d\d).*$/, "$1-$2-$3"),
    count: Number(parts.get("COUNT") ?? 0),
  };
  // What it cannot show it must not lose.
  const written = ruleOf(found).split(";").sort().join(";");
  const given = rule
    .replace(/UNTIL=(\d{8})T\d{6}Z?/, "UNTIL=$1")
    .replace(/;?(INTERVAL=1|WKST=\w+)(?=;|$)/g, "");
  return written === given.split(";").sort().join(";") ? found : null;
}

/** "every second Tuesday until 3 May 2026" */
export function words(rule: string, locale: string): string {
  const repeat = repeatOf(rule);
  if (!repeat) return `by the rule ${rule}`;
  const { frequency, interval, weekdays, nth, until, count } = repeat;
  const every = interval === 1 ? `every ${UNITS[frequency]}` : `every ${interval} ${UNITS[frequency]}s`;
  const end = until ? ` until ${dayInWords(until, locale)}` : count > 0 ? `, ${count} times` : "";
  if (frequency === "WEEKLY" && weekdays.join() === WORKDAYS.join() && interval === 1)
    return `every weekday${end}`;
  if (frequency === "WEEKLY" && weekdays.length === 1 && interval <= 2)
    return `every ${interval === 2 ? "second " : ""}${nameOf(weekdays[0] ?? "MO")}${end}`;
  if (frequency === "WEEKLY" && weekdays.length > 0)
    return `${every} on ${listed(weekdays.map(nameOf))}${end}`;
  if (frequency === "MONTHLY" && nth) return `${every} on the ${nthInWords(nth)}${end}`;
  return every + end;
}

export const nameOf = (weekday: Weekday): string => NAMES[WEEKDAYS.indexOf(weekday)] ?? weekday;

/** "second Tuesday" */
export function nthInWords(nth: string): string {
  const [, number = "", weekday = ""] = /^(-?\d)(\w\w)$/.exec(nth) ?? [];
  return `${ORDINALS[number] ?? `${number}.`} ${nameOf(weekday as Weekday)}`;
}

/** "12 March 2030" */
export const dayInWords = (day: string, locale: string): string =>
  new Intl.DateTimeFormat(locale, { timeZone: "UTC", day: "numeric", month: "long", year: "numeric" }).format(
    Date.parse(`${day}T00:00Z`),
  );

const listed = (names: readonly string[]): string =>
  names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1) ?? ""}`;
