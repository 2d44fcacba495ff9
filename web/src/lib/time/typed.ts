/**
 * What a person types for a time or a date.
 *
 * Everything that the page shows can be typed again, and shorter forms too. Numbers of a date are in the order of the
 * locale. Each reader answers null for what it cannot read, so that the field can say so.
 */
import { clockOf, type TimeStyle } from "./format.ts";
import { dayAfter } from "./zones.ts";

const LAST_YEAR = 2100;

/** Digits of any script as 0 to 9, and every kind of space as one space. */
function plain(text: string, locale: string): string {
  const digits = [...new Intl.NumberFormat(locale, { useGrouping: false }).format(9_876_543_210)].reverse();
  return [...text.normalize("NFKC")]
    .map((character) => (digits.includes(character) ? String(digits.indexOf(character)) : character))
    .join("")
    .toLocaleLowerCase(locale)
    .replace(/\p{Cf}/gu, "")
    .replace(/\s+/gu, " ")
    .trim();
}

/** What the locale says for the half of the day in which an hour is. */
function dayPeriod(hour: number, locale: string): string {
  const format = new Intl.DateTimeFormat(locale, { hour: "numeric", hour12: true, timeZone: "UTC" });
  const part = format.formatToParts(Date.UTC(2000, 0, 1, hour)).find(({ type }) => type === "dayPeriod");
  return plain(part?.value ?? "", locale);
}

/** The locale's own words around a time, such as the "h" of "14 h 30". */
function around(locale: string): string[] {
  const literals = [true, false].flatMap((hour12) => {
    const options = { ...clockOf(hour12), minute: "2-digit", timeZone: "UTC" } as const;
    return new Intl.DateTimeFormat(locale, options).formatToParts(0).filter(({ type }) => type === "literal");
  });
  return literals.map(({ value }) => plain(value, locale)).filter((value) => /\p{L}/u.test(value));
}

/** Minutes since midnight for "9:30", "930", "9.30", "9h30", "14", "2pm", "2:30 p.m.", "noon"; null for anything else. */
export function readTime(text: string, locale: string): number | null {
  const typed = around(locale)
    .reduce((left, word) => left.replace(word, " "), plain(text, locale))
    .replace(/ +/g, " ")
    .trim();
  if (typed === "noon") return 12 * 60;
  if (typed === "midnight") return 0;
  const found = /^(?<before>\D*?) ?(?<digits>\d{1,2}(?: ?[:.h] ?\d{2})?|\d{3,4}) ?(?<after>\D*)$/u.exec(
    typed,
  );
  if (!found?.groups) return null;
  const digits = (found.groups["digits"] ?? "").replaceAll(" ", "");
  const [, hours = "", minutes = ""] =
    /^(\d{1,2})[:.h](\d{2})$/.exec(digits) ?? /^(\d{1,2}?)(\d{2})?$/.exec(digits) ?? [];
  const hour = Number(hours);
  const minute = Number(minutes);
  if (hour > 23 || minute > 59) return null;
  const half = halfOfDay(`${found.groups["before"] ?? ""}${found.groups["after"] ?? ""}`.trim(), locale);
  if (half === null) return null;
  if (half === "") return hour * 60 + minute;
  if (hour > 12) return null;
  return ((hour % 12) + (half === "pm" ? 12 : 0)) * 60 + minute;
}

/** "am", "pm", "" where neither is said; null for other words. */
function halfOfDay(word: string, locale: string): "am" | "pm" | "" | null {
  const letters = word.replace(/[. ]/g, "");
  if (["", "h", "uhr"].includes(letters)) return "";
  for (const [half, hour] of [
    ["am", 9],
    ["pm", 15],
  ] as const) {
    if ([half, half.charAt(0), dayPeriod(hour, locale).replace(/[. ]/g, "")].includes(letters)) return half;
  }
  return null;
}

/** "14:30" or "2:30 PM", as a field shows a time of day. */
export function writeTime(minute: number, { locale, hour12 }: TimeStyle): string {
  const format = new Intl.DateTimeFormat(locale, { timeZone: "UTC", ...clockOf(hour12), minute: "2-digit" });
  return format.format(minute * 60_000);
}

const dateFormat = (locale: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat =>
  new Intl.DateTimeFormat(locale, { timeZone: "UTC", calendar: "gregory", ...options });

/** "Thu 16 May 2030", as a field shows a day. */
export function writeDate(day: string, locale: string): string {
  const options = { weekday: "short", day: "numeric", month: "short", year: "numeric" } as const;
  return dateFormat(locale, options).format(Date.parse(day));
}

/** The day of these numbers, or null if there is none. */
function dayOfNumbers(year: number, month: number, date: number): string | null {
  const instant = Date.UTC(year, month - 1, date);
  const found = new Date(instant);
  const exists = found.getUTCMonth() === month - 1 && found.getUTCDate() === date;
  return exists && year >= 1970 && year <= LAST_YEAR ? found.toISOString().slice(0, 10) : null;
}

const fullYear = (year: number): number => (year < 100 ? 2000 + year : year);

/** Without a year a day of the next ten months is meant, or of the last two. */
function inNearestYear(month: number, date: number, today: string): string | null {
  const year = Number(today.slice(0, 4));
  const first = dayAfter(today, -60);
  const candidates = [year - 1, year, year + 1].flatMap((each) => dayOfNumbers(each, month, date) ?? []);
  return candidates.find((day) => day >= first) ?? null;
}

/** "day", "month" and "year" in the order in which the locale writes them. */
function numberOrder(locale: string): string[] {
  const parts = dateFormat(locale, { day: "numeric", month: "numeric", year: "numeric" }).formatToParts(0);
  return parts.map(({ type }) => type).filter((type) => ["day", "month", "year"].includes(type));
}

/** The names of something in the locale's language and in English, long and short, with their numbers. */
function names(locale: string, kind: "month" | "weekday"): Map<string, number> {
  const found = new Map<string, number>();
  for (const language of ["en", locale]) {
    for (const style of ["long", "short"] as const) {
      for (let number = 0; number < (kind === "month" ? 12 : 7); number++) {
        // 2 January 2000 was a Sunday.
        const instant = kind === "month" ? Date.UTC(2000, number, 1) : Date.UTC(2000, 0, 2 + number);
        // With the day beside it: some languages decline the month's name then.
        const options = kind === "month" ? { month: style, day: "numeric" as const } : { weekday: style };
        const part = dateFormat(language, options)
          .formatToParts(instant)
          .find(({ type }) => type === kind);
        const name = plain(part?.value ?? "", locale).replace(/\p{P}/gu, "");
        if (/\p{L}/u.test(name)) found.set(name, number);
      }
    }
  }
  return found;
}

/** "today", "tomorrow" and "yesterday", in English and in the locale's language. */
function relative(word: string, locale: string, today: string): string | null {
  for (const language of ["en", locale]) {
    const format = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
    for (const days of [0, 1, -1]) {
      if (plain(format.format(days, "day"), locale) === word) return dayAfter(today, days);
    }
  }
  return null;
}

/** In these scripts "day" and the weekday are one word. Elsewhere short words such as "de" and "th" may stand there. */
const UNSPACED = /[\p{Script=Han}\p{Script=Hangul}]/u;

/** A day as "YYYY-MM-DD" for "16 May", "16.5.", "5/16/2030", "2030-05-16", "friday", "tomorrow"; null for anything else. */
export function readDate(text: string, locale: string, today: string): string | null {
  const typed = plain(text, locale);
  const iso = /^(\d{4})-(\d{1,2})-(\d{1,2})$/.exec(typed);
  if (iso) return dayOfNumbers(Number(iso[1]), Number(iso[2]), Number(iso[3]));
  const spoken = relative(typed, locale, today);
  if (spoken) return spoken;
  const months = names(locale, "month");
  const weekdays = names(locale, "weekday");
  const numbers: number[] = [];
  let month: number | undefined;
  let weekday: number | undefined;
  for (const token of typed.match(/\d+|\p{L}[\p{L}\p{M}.]*/gu) ?? []) {
    const word = token.replaceAll(".", "");
    if (/^\d/.test(word)) numbers.push(Number(word));
    else if (months.has(word)) month = months.get(word);
    else if (weekdays.has(word)) weekday = weekdays.get(word);
    else if (word.length > 2 && !UNSPACED.test(word)) return null;
  }
  if (month !== undefined) return withMonth(month + 1, numbers, today);
  if (numbers.length === 0) return weekday === undefined ? null : nextWeekday(weekday, today);
  return byOrder(numbers, locale, today);
}

function withMonth(month: number, numbers: number[], today: string): string | null {
  const [one = 0, two] = numbers;
  if (numbers.length === 1) return inNearestYear(month, one, today);
  if (numbers.length !== 2 || two === undefined) return null;
  return one > 31 ? dayOfNumbers(one, month, two) : dayOfNumbers(fullYear(two), month, one);
}

function nextWeekday(weekday: number, today: string): string {
  const ahead = (weekday - new Date(today).getUTCDay() + 7) % 7;
  return dayAfter(today, ahead);
}

function byOrder(numbers: number[], locale: string, today: string): string | null {
  const order = numberOrder(locale).filter((part) => numbers.length === 3 || part !== "year");
  if (numbers.length !== order.length) return null;
  const of = (part: string): number => numbers[order.indexOf(part)] ?? 0;
  if (numbers.length === 2) return inNearestYear(of("month"), of("day"), today);
  return dayOfNumbers(fullYear(of("year")), of("month"), of("day"));
}
