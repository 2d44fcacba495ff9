/** Reminders: how many minutes before its start somebody is written to about an appointment. */

export const MOST = 5;
/** Four weeks. */
export const FARTHEST = 40_320;

/** The units in which they are typed, in minutes. */
export const UNITS = [
  { minutes: 1, name: "minute" },
  { minutes: 60, name: "hour" },
  { minutes: 1_440, name: "day" },
  { minutes: 10_080, name: "week" },
] as const;

/** "1 hour 30 minutes before"; whole weeks and days are said as such. */
export function reminderText(minutes: number): string {
  if (minutes === 0) return "at the start";
  const parts: string[] = [];
  let rest = minutes;
  for (const unit of [...UNITS].reverse()) {
    // "8 days" is easier to think of than "1 week 1 day".
    if (unit.name === "week" && rest % unit.minutes !== 0) continue;
    const count = Math.floor(rest / unit.minutes);
    rest %= unit.minutes;
    if (count > 0) parts.push(`${count} ${unit.name}${count === 1 ? "" : "s"}`);
  }
  return `${parts.join(" ")} before`;
}

/** All of them, the earliest mail first; "none" if there are none. */
export const remindersText = (reminders: readonly number[]): string =>
  reminders.length === 0 ? "none" : earliestFirst(reminders).map(reminderText).join(", ");

/** In the order in which the mails come. */
export const earliestFirst = (reminders: readonly number[]): number[] => [...reminders].sort((a, b) => b - a);

/** What is wrong with one more; "" if nothing is. */
export function problemOf(minutes: number, reminders: readonly number[]): string {
  if (!Number.isInteger(minutes) || minutes < 0) return "Please type a whole number.";
  if (minutes > FARTHEST) return "At most four weeks before.";
  if (reminders.includes(minutes)) return "There is one already.";
  return reminders.length >= MOST ? `At most ${MOST} reminders.` : "";
}
