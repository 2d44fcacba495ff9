import assert from "node:assert/strict";
import { test } from "node:test";

import { PLAIN, type Booked } from "../src/lib/calendar/appointment.ts";
import { full, occupied, withRoom } from "../src/lib/calendar/occupancy.ts";

const span = (start: number, end: number): { start: number; end: number } => ({ start, end });
const booked = (id: string, start: number, end: number): Booked => ({
  ...PLAIN,
  id,
  ownerId: "",
  etag: "",
  deleted: false,
  seriesId: "",
  originalStart: NaN,
  answer: null,
  organizer: null,
  held: false,
  title: "",
  timeZone: "UTC",
  location: "",
  description: "",
  attendees: [],
  start,
  end,
});

test("one unit is full whenever it is taken", () => {
  assert.deepEqual(full([span(10, 11), span(12, 14), span(13, 15)], 1), [span(10, 11), span(12, 15)]);
});

test("times that touch are one", () => {
  assert.deepEqual(full([span(10, 11), span(11, 12)], 1), [span(10, 12)]);
});

test("several units are full while all of them are taken", () => {
  assert.deepEqual(full([span(10, 13), span(11, 12)], 2), [span(11, 12)]);
  assert.deepEqual(full([span(10, 11), span(11, 12)], 2), []);
  assert.deepEqual(full([span(10, 14), span(10, 12), span(12, 13), span(9, 11)], 3), [span(10, 11)]);
});

test("one's own appointments are given without buffers, times of others with them", () => {
  const capacity = { units: 1, bufferBefore: 1, bufferAfter: 2 };
  assert.deepEqual(occupied({ ...booked("1", 10, 11), bufferBefore: 3 }, capacity), span(6, 13));
  assert.deepEqual(occupied(booked("", 10, 11), capacity), span(10, 11));
});

test("whoever comes next needs room for the resource's buffers too", () => {
  assert.deepEqual(withRoom([span(10, 11)], { units: 1, bufferBefore: 1, bufferAfter: 2 }), [span(8, 12)]);
});
