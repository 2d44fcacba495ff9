import assert from "node:assert/strict";
import { test } from "node:test";

import { monthAfter, page, step, weekStart, type Cursor } from "../src/lib/calendar/cursor.ts";
import { firstDayOf, hour12Of, spanText, timeText } from "../src/lib/time/format.ts";

const CURSOR: Cursor = { day: "2030-05-15", minute: 600, span: 60 };

test("arrows walk through the days of a month", () => {
  assert.equal(step(CURSOR, "ArrowRight", false, "month", 1)?.day, "2030-05-16");
  assert.equal(step(CURSOR, "ArrowUp", false, "month", 1)?.day, "2030-05-08");
  assert.equal(step(CURSOR, "Home", false, "month", 1)?.day, "2030-05-13");
  assert.equal(step(CURSOR, "End", false, "month", 0)?.day, "2030-05-18");
  assert.equal(step(CURSOR, "PageDown", false, "month", 1)?.day, "2030-06-15");
  assert.equal(step(CURSOR, "x", false, "month", 1), null);
});

test("arrows walk through the times of a day, and Shift pulls the end", () => {
  assert.equal(step(CURSOR, "ArrowDown", false, "week", 1)?.minute, 630);
  assert.equal(step({ ...CURSOR, minute: 0 }, "ArrowUp", false, "day", 1)?.minute, 0);
  assert.equal(step(CURSOR, "ArrowDown", true, "week", 1)?.span, 90);
  assert.equal(step({ ...CURSOR, minute: 1410, span: 30 }, "ArrowDown", true, "week", 1)?.span, 30);
  assert.equal(step(CURSOR, "PageUp", false, "week", 1)?.day, "2030-05-08");
});

test("pages follow the view, and a short month ends on its last day", () => {
  assert.equal(monthAfter("2030-01-31", 1), "2030-02-28");
  assert.equal(monthAfter("2030-01-31", -2), "2029-11-30");
  assert.equal(page("2030-05-15", "day", -1), "2030-05-14");
  assert.equal(weekStart("2030-05-15", 6), "2030-05-11");
});

test("weeks and clocks are the locale's", () => {
  assert.equal(firstDayOf("en-US"), 0);
  assert.equal(firstDayOf("de-CH"), 1);
  assert.equal(hour12Of("en-US"), true);
  assert.equal(hour12Of("de-CH"), false);
});

test("times are said by the clock", () => {
  const instant = Date.parse("2030-05-15T07:05:00Z");
  const timeStyle = { locale: "en-US", zone: "UTC", hour12: true };
  assert.equal(timeText(instant, timeStyle).replace("\u202f", " "), "7:05 AM");
  assert.equal(timeText(instant, { ...timeStyle, hour12: false }), "07:05");
  assert.equal(spanText(instant, instant + 3_600_000, { ...timeStyle, hour12: false }), "07:05 – 08:05");
});
