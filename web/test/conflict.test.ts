import assert from "node:assert/strict";
import { test } from "node:test";

import { conflictText, type Obstacle, type Obstacles } from "../src/lib/calendar/conflict.ts";

const MANNER = { locale: "en-GB", zone: "Europe/Zurich", hour12: false };
const at = (text: string): number => Date.parse(`2030-05-${text}:00Z`);
const own = (appointments: Obstacle[]): Obstacles => ({ appointments, resources: [] });
const obstacle = (title: string | null, start: string, end: string): Obstacle => ({
  id: `${title} ${start}`,
  title,
  start: at(start),
  end: at(end),
});
const wanted = { start: at("16T08:00"), end: at("16T09:00") };

test("one obstacle is named with its time", () => {
  const text = conflictText(own([obstacle("Review", "16T08:30", "16T09:30")]), wanted, MANNER);
  assert.equal(text, "This time overlaps “Review” (10:30 – 11:30).");
});

test("an obstacle of another day is named with its day", () => {
  const text = conflictText(own([obstacle("Night shift", "15T20:00", "16T08:30")]), wanted, MANNER);
  assert.equal(text, "This time overlaps “Night shift” (Wed 15 May, 22:00 – Thu 16 May, 10:30).");
});

test("many obstacles are counted", () => {
  const many = ["a", "b", "c", "d"].map((title) => obstacle(title, "16T08:00", "16T08:15"));
  const text = conflictText(own(many), wanted, MANNER);
  assert.equal(text, "This time overlaps “a” (10:00 – 10:15), “b” (10:00 – 10:15), and 2 more.");
});

test("an obstacle whose title is not known is still said", () => {
  const text = conflictText(own([obstacle(null, "16T08:30", "16T09:30")]), wanted, MANNER);
  assert.equal(text, "This time overlaps another appointment (10:30 – 11:30).");
  assert.equal(conflictText(own([]), wanted, MANNER), "This time is already taken.");
});

test("rooms are named, alone and beside one's own appointments", () => {
  const studio = { appointments: [], resources: ["Studio"] };
  assert.equal(conflictText(studio, wanted, MANNER), "“Studio” is taken at this time.");
  const both = {
    appointments: [obstacle("Review", "16T08:30", "16T09:30")],
    resources: ["Studio", "Beamer"],
  };
  assert.equal(
    conflictText(both, wanted, MANNER),
    "This time overlaps “Review” (10:30 – 11:30). “Studio” and “Beamer” are taken at this time.",
  );
});
