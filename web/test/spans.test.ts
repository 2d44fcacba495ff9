import assert from "node:assert/strict";
import { test } from "node:test";

import { cut, including, nearestFree, overlap } from "../src/lib/time/spans.ts";

const DAY = { start: 0, end: 24 };
const span = (start: number, end: number): { start: number; end: number } => ({ start, end });

test("what touches does not overlap", () => {
  assert.equal(overlap(span(10, 11), span(11, 12)), false);
  assert.equal(overlap(span(10, 12), span(11, 13)), true);
});

test("a free time stays as it is", () => {
  assert.deepEqual(nearestFree(span(10, 11), [span(11, 12)], DAY), span(10, 11));
});

test("the nearest free time is before or after what is in the way", () => {
  assert.deepEqual(nearestFree(span(14, 15), [span(13.5, 15)], DAY), span(15, 16));
  assert.deepEqual(nearestFree(span(13, 14), [span(12.75, 18)], DAY), span(11.75, 12.75));
});

test("of two that are as near the later is offered", () => {
  assert.deepEqual(nearestFree(span(10, 11), [span(10, 11)], DAY), span(11, 12));
});

test("a gap that is too small is passed over", () => {
  assert.deepEqual(nearestFree(span(10, 12), [span(9, 11), span(12, 13)], DAY), span(13, 15));
});

test("nothing is offered outside the day or before now", () => {
  assert.deepEqual(nearestFree(span(23, 24), [span(22.5, 24)], DAY), span(21.5, 22.5));
  assert.deepEqual(nearestFree(span(10, 11), [span(10, 12)], DAY, 9.5), span(12, 13));
  assert.equal(nearestFree(span(10, 11), [span(0, 23.5)], DAY), null);
});

test("spans are cut to a window, and what only touches it is left out", () => {
  assert.deepEqual(cut([span(0, 2), span(3, 5), span(9, 12), span(12, 13)], span(2, 12)), [
    span(3, 5),
    span(9, 12),
  ]);
});

test("a day is shown as usual, and as far beyond as something is taken, but not into other days", () => {
  assert.deepEqual(including(span(7, 20), DAY, []), span(7, 20));
  assert.deepEqual(including(span(7, 20), DAY, [span(9, 10), span(21, 27)]), span(7, 24));
  assert.deepEqual(including(span(7, 20), DAY, [span(-3, -1), span(-1, 1)]), span(0, 20));
});
