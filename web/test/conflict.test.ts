import assert from "node:assert/strict";
import { test } from "node:test";

import { conflictText } from "../src/lib/calendar/conflict.ts";

const MANNER = { locale: "en-GB", zone: "Europe/Zurich", hour12: false };
const at = (text: string): number => Date.parse(`2030-05-${text}:00Z`);
const obstacle = (title: string | null, start: string, end: string) => ({
  id: `${title} ${start}`,
  title,
  start: at(start),
  end: at(end),
});
const wanted = { start: at("16T08:00"), end: at("16T09:00") };

test("one obstacle is named with its time", () => {
  const text = conflictText([obstacle("Review", "16T08:30", "16T09:30")], wanted, MANNER);
  assert.equal(text, "This time overlaps “Review” (10:30 – 11:30).");
});

test("an obstacle of another day is named with its day", () => {
  const text = conflictText([obstacle("Night shift", "15T20:00", "16T08:30")], wanted, MANNER);
  assert.equal(text, "This time overlaps “Night shift” (Wed 15 May, 22:00 – Thu 16 May, 10:30).");
});

test("many obstacles are counted", () => {
  const many = ["a", "b", "c", "d"].map((title) => obstacle(title, "16T08:00", "16T08:15"));
  const text = conflictText(many, wanted, MANNER);
  assert.equal(text, "This time overlaps “a” (10:00 – 10:15), “b” (10:00 – 10:15), and 2 more.");
});

test("an obstacle whose title is not known is still said", () => {
  const text = conflictText([obstacle(null, "16T08:30", "16T09:30")], wanted, MANNER);
  assert.equal(text, "This time overlaps another appointment (10:30 – 11:30).");
  assert.equal(conflictText([], wanted, MANNER), "This time is already taken.");
});
