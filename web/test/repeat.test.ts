import assert from "node:assert/strict";
import { test } from "node:test";

import { nthChoices, ONCE_A_WEEK, repeatOf, ruleOf, weekdayOf, words } from "../src/lib/calendar/repeat.ts";

test("a rule that the editor writes is read again", () => {
  for (const rule of [
    "FREQ=DAILY",
    "FREQ=DAILY;INTERVAL=3;COUNT=10",
    "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH;UNTIL=20300503",
    "FREQ=MONTHLY",
    "FREQ=MONTHLY;BYDAY=-1FR",
    "FREQ=YEARLY;COUNT=5",
  ]) {
    const repeat = repeatOf(rule);
    assert.ok(repeat, rule);
    assert.equal(ruleOf(repeat), rule);
  }
});

test("a rule that it cannot show is not read, so that nothing of it is lost", () => {
  for (const rule of [
    "FREQ=YEARLY;BYMONTH=1,7",
    "FREQ=MONTHLY;BYMONTHDAY=-1",
    "FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=1",
  ])
    assert.equal(repeatOf(rule), null);
});

test("an end with a time and a week's usual start are no obstacle", () => {
  assert.equal(repeatOf("FREQ=WEEKLY;WKST=MO;BYDAY=TU;UNTIL=20300503T080000Z")?.until, "2030-05-03");
});

test("rules are said in words", () => {
  const said = (rule: string): string => words(rule, "en-GB");
  assert.equal(
    said("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU;UNTIL=20260503"),
    "every second Tuesday until 3 May 2026",
  );
  assert.equal(said("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"), "every weekday");
  assert.equal(said("FREQ=WEEKLY;INTERVAL=3;BYDAY=MO,WE"), "every 3 weeks on Monday and Wednesday");
  assert.equal(said("FREQ=MONTHLY;BYDAY=-1FR;COUNT=4"), "every month on the last Friday, 4 times");
  assert.equal(said("FREQ=DAILY"), "every day");
  assert.equal(said("FREQ=YEARLY;BYMONTH=1,7"), "by the rule FREQ=YEARLY;BYMONTH=1,7");
});

test("the weekday of a month is offered from the front and, if it is the last, from the back", () => {
  assert.deepEqual(nthChoices("2030-05-14"), ["2TU"]);
  assert.deepEqual(nthChoices("2030-05-28"), ["4TU", "-1TU"]);
  assert.deepEqual(nthChoices("2030-05-31"), ["-1FR"]);
});

test("a day has its weekday, and once a week means that of the start", () => {
  assert.equal(weekdayOf("2030-05-19"), "SU");
  assert.equal(ruleOf(ONCE_A_WEEK), "FREQ=WEEKLY");
});
