import assert from "node:assert/strict";
import { test } from "node:test";

import { closed, openingsOn, type Opened } from "../src/lib/calendar/hours.ts";
import { hoursOf, readOpenings, writeOpenings } from "../src/lib/calendar/openings.ts";

const STYLE = { locale: "en-GB", zone: "Europe/Zurich", hour12: false };
const at = (text: string): number => Date.parse(text);
const opened = (week: string[], dates: { date: string; text: string }[] = []): Opened =>
  hoursOf(week, dates, "en-GB") as unknown as Opened;
const NINE_TO_FIVE = opened(["9-17", "9-17", "9-17", "9-17", "9-17", "", ""]);

test("several spans of a day are read in any order", () => {
  assert.deepEqual(readOpenings("13:00 – 17:00, 9-12", "en-GB"), [
    { start: 540, end: 720 },
    { start: 780, end: 1020 },
  ]);
  assert.deepEqual(readOpenings("10pm to midnight", "en-US"), [{ start: 1320, end: 1440 }]);
  assert.deepEqual(readOpenings(" ", "en-GB"), []);
});

test("what ends before it starts, overlaps or is no time is not read", () => {
  for (const text of ["17-9", "9-12, 11-13", "nine", "9", "9-10-11", "9-12,"])
    assert.equal(readOpenings(text, "en-GB"), null, text);
});

test("what is shown can be read again", () => {
  for (const hour12 of [true, false]) {
    const openings = [
      { start: 0, end: 90 },
      { start: 1200, end: 1440 },
    ];
    const shown = writeOpenings(openings, { ...STYLE, locale: "en-US", hour12 });
    assert.deepEqual(readOpenings(shown, "en-US"), openings, shown);
  }
});

test("without hours it is always open", () => {
  assert.deepEqual(closed(undefined, "UTC", { start: 0, end: 10 }), []);
  assert.deepEqual(closed(opened(["", "", "", "", "", "", ""]), "UTC", { start: 0, end: 10 }), []);
});

test("a night and a weekend are closed, on the clock of the hours' own zone", () => {
  const window = { start: at("2030-05-16T22:00Z"), end: at("2030-05-19T22:00Z") };
  assert.deepEqual(closed(NINE_TO_FIVE, "Europe/Zurich", window), [
    { start: window.start, end: at("2030-05-17T07:00Z") },
    { start: at("2030-05-17T15:00Z"), end: window.end },
  ]);
});

test("a date with hours of its own has no others, and without any it is closed", () => {
  const hours = opened(
    ["9-17", "", "", "", "", "", ""],
    [
      { date: "2030-05-13", text: "" },
      { date: "2030-05-14", text: "20-24" },
    ],
  );
  assert.deepEqual(openingsOn(hours, "2030-05-13"), []);
  assert.deepEqual(openingsOn(hours, "2030-05-14"), [{ start: 1200, end: 1440 }]);
  assert.deepEqual(openingsOn(hours, "2030-05-20"), [{ start: 540, end: 1020 }]);
});

test("in a week without hours only the dates with hours of their own are closed", () => {
  const hours = opened([], [{ date: "2030-05-14", text: "" }]);
  const window = { start: at("2030-05-13T00:00Z"), end: at("2030-05-16T00:00Z") };
  assert.deepEqual(closed(hours, "UTC", window), [
    { start: at("2030-05-14T00:00Z"), end: at("2030-05-15T00:00Z") },
  ]);
});
