/**
 * Instants and wall-clock times of IANA zones, both ways.
 *
 * An instant is a number of milliseconds since 1970 (UTC); a wall time is "YYYY-MM-DDTHH:mm:ss" without a zone, as a
 * clock on the wall of that zone shows it. Where clocks go forward a wall time may not exist: the instant that the
 * clock would have shown without the change is taken, so 02:30 becomes 03:30. Where they go back it exists twice: the
 * first is taken. RFC 5545 and Temporal's "compatible" say the same.
 */
export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(zone: string): Intl.DateTimeFormat {
  let format = formats.get(zone);
  if (!format) {
    format = new Intl.DateTimeFormat("en-US", {
      timeZone: zone,
      calendar: "iso8601",
      numberingSystem: "latn",
      hourCycle: "h23",
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
    });
    formats.set(zone, format);
  }
  return format;
}

/** How far the zone's clocks are ahead of UTC at that instant, in milliseconds. */
export function offsetAt(instant: number, zone: string): number {
  const part: Record<string, number> = {};
  for (const { type, value } of formatOf(zone).formatToParts(instant)) part[type] = Number(value);
  const { year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0 } = part;
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(instant / 1000) * 1000;
}

/** The wall time of an instant, to the second. */
export function wallAt(instant: number, zone: string): string {
  return new Date(instant + offsetAt(instant, zone)).toISOString().slice(0, 19);
}

/** The instant of a wall time; seconds may be left out. */
export function instantOf(wall: string, zone: string): number {
  const asUtc = Date.parse(`${wall}Z`);
  const before = offsetAt(asUtc - DAY, zone);
  const after = offsetAt(asUtc + DAY, zone);
  const candidates = [asUtc - Math.max(before, after), asUtc - Math.min(before, after)];
  const found = candidates.find((candidate) => candidate + offsetAt(candidate, zone) === asUtc);
  return found ?? asUtc - before;
}

/** Whether clocks in the zone ever show this wall time. */
export function exists(wall: string, zone: string): boolean {
  return Date.parse(wallAt(instantOf(wall, zone), zone) + "Z") === Date.parse(`${wall}Z`);
}

/** A wall time moved along the wall: days are days, however long they last. */
export function moved(wall: string, by: { days?: number; minutes?: number }): string {
  const time = Date.parse(`${wall}Z`) + (by.days ?? 0) * DAY + (by.minutes ?? 0) * MINUTE;
  return new Date(time).toISOString().slice(0, 19);
}

/** The day so many days after a day. */
export const dayAfter = (day: string, days: number): string => dayOf(moved(`${day}T00:00`, { days }));

/** The day that it is in the zone. */
export const todayIn = (zone: string): string => dayOf(wallAt(Date.now(), zone));

/** The day part of a wall time. */
export const dayOf = (wall: string): string => wall.slice(0, 10);

/** Minutes since the wall's midnight. */
export const minuteOf = (wall: string): number =>
  Number(wall.slice(11, 13)) * 60 + Number(wall.slice(14, 16));

/** A day and minutes since its midnight as a wall time; 1440 is the next day's midnight. */
export const wallOf = (day: string, minute: number): string => moved(`${day}T00:00`, { minutes: minute });

/** "+02:00" */
export function offsetText(instant: number, zone: string): string {
  const minutes = Math.round(offsetAt(instant, zone) / MINUTE);
  const part = (value: number): string => String(Math.floor(value)).padStart(2, "0");
  return `${minutes < 0 ? "-" : "+"}${part(Math.abs(minutes) / 60)}:${part(Math.abs(minutes) % 60)}`;
}

/** The zone of this device. */
export const deviceZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

/** Browsers list these under names that IANA has retired. */
const RENAMED: Record<string, string> = {
  "Africa/Asmera": "Africa/Asmara",
  "America/Buenos_Aires": "America/Argentina/Buenos_Aires",
  "America/Catamarca": "America/Argentina/Catamarca",
  "America/Coral_Harbour": "America/Atikokan",
  "America/Cordoba": "America/Argentina/Cordoba",
  "America/Godthab": "America/Nuuk",
  "America/Indianapolis": "America/Indiana/Indianapolis",
  "America/Jujuy": "America/Argentina/Jujuy",
  "America/Louisville": "America/Kentucky/Louisville",
  "America/Mendoza": "America/Argentina/Mendoza",
  "Asia/Calcutta": "Asia/Kolkata",
  "Asia/Katmandu": "Asia/Kathmandu",
  "Asia/Rangoon": "Asia/Yangon",
  "Asia/Saigon": "Asia/Ho_Chi_Minh",
  "Atlantic/Faeroe": "Atlantic/Faroe",
  "Europe/Kiev": "Europe/Kyiv",
  "Pacific/Enderbury": "Pacific/Kanton",
  "Pacific/Ponape": "Pacific/Pohnpei",
  "Pacific/Truk": "Pacific/Chuuk",
};

/** Every zone to choose from, sorted, with the given ones among them. */
export function zoneNames(...included: string[]): string[] {
  const names = Intl.supportedValuesOf("timeZone").map((name) => RENAMED[name] ?? name);
  return [...new Set(["UTC", ...names, ...included])].sort();
}

/** "New York" for "America/New_York" */
export const cityOf = (zone: string): string => zone.slice(zone.lastIndexOf("/") + 1).replaceAll("_", " ");
