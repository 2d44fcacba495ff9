import assert from "node:assert/strict";
import { test } from "node:test";

import type { Opened } from "../src/lib/calendar/hours.ts";
import { longText, refusal, rulesOf, toRules, type Rules } from "../src/lib/calendar/rules.ts";
import { DAY, HOUR, MINUTE } from "../src/lib/time/zones.ts";

const at = (text: string): number => Date.parse(text);
const NOW = at("2030-05-15T08:00Z");
const NONE = rulesOf(undefined);
const TO_NOON = {
  week: [{ weekday: 3, startMinute: 600, endMinute: 720 }],
  specialDays: [],
} as unknown as Opened;

/** Why it is refused on Wednesday 15 May 2030 in Zurich, two hours ahead of UTC. */
function refused(rules: Partial<Rules>, from: string, until: string): string {
  const terms = { hours: TO_NOON, timeZone: "Europe/Zurich", rules: { ...NONE, ...rules } };
  const wanted = { start: at(`2030-05-15T${from}+02:00`), end: at(`2030-05-15T${until}+02:00`) };
  return refusal(terms, wanted, NOW);
}

test("without rules nothing is refused, not even what is past and closed", () => {
  assert.equal(refused({}, "09:00", "18:00"), "");
});

test("each rule says why, at its edges", () => {
  assert.equal(refused({ withinHours: true }, "10:00", "12:00"), "");
  assert.equal(refused({ withinHours: true }, "10:00", "12:01"), "Closed then");
  assert.equal(refused({ notPast: true }, "10:00", "11:00"), "");
  assert.equal(refused({ notPast: true }, "09:59", "11:00"), "Not in the past");
  assert.equal(refused({ minNotice: HOUR }, "11:00", "12:00"), "");
  assert.equal(refused({ minNotice: HOUR }, "10:59", "12:00"), "1 h ahead at least");
  assert.equal(refused({ horizon: HOUR }, "11:00", "12:00"), "");
  assert.equal(refused({ horizon: HOUR }, "11:01", "12:00"), "1 h ahead at most");
  assert.equal(refused({ minDuration: 30 * MINUTE }, "11:00", "11:30"), "");
  assert.equal(refused({ minDuration: 30 * MINUTE }, "11:00", "11:29"), "For 30 min at least");
  assert.equal(refused({ maxDuration: HOUR }, "11:00", "12:00"), "");
  assert.equal(refused({ maxDuration: HOUR }, "11:00", "12:01"), "For 1 h at most");
  assert.equal(refused({ step: 45 * MINUTE }, "11:15", "12:00"), "");
  assert.equal(refused({ step: 45 * MINUTE }, "11:00", "12:00"), "Begins every 45 min");
});

test("what is read can be written again", () => {
  const rules: Rules = { ...NONE, minNotice: 2 * DAY, step: 90 * 1000, dailyLimit: 3, notPast: true };
  assert.deepEqual(rulesOf(toRules(rules) as never), rules);
  assert.deepEqual(toRules(NONE), { dailyLimit: 0, withinHours: false });
});

test("lengths are said in the largest unit that fits", () => {
  assert.deepEqual([90 * MINUTE, 2 * HOUR, DAY, 14 * DAY].map(longText), [
    "90 min",
    "2 h",
    "1 day",
    "14 days",
  ]);
});
