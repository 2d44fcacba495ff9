import assert from "node:assert/strict";
import { test } from "node:test";

import {
  cityOf,
  exists,
  instantOf,
  moved,
  offsetText,
  wallAt,
  wallOf,
  zoneNames,
} from "../src/lib/time/zones.ts";

const ZURICH = "Europe/Zurich";
const utc = (text: string): number => Date.parse(text);

test("an instant shows the wall time of its zone", () => {
  assert.equal(wallAt(utc("2030-05-15T08:20:30Z"), ZURICH), "2030-05-15T10:20:30");
  assert.equal(wallAt(utc("2030-05-15T08:20:30Z"), "Asia/Kathmandu"), "2030-05-15T14:05:30");
  assert.equal(wallAt(utc("1969-12-31T23:59:59Z"), "UTC"), "1969-12-31T23:59:59");
});

test("a wall time and its instant lead to each other", () => {
  for (const zone of [ZURICH, "America/New_York", "Asia/Kolkata", "Pacific/Apia", "UTC"]) {
    for (
      let instant = utc("2030-01-01T00:00:00Z");
      instant < utc("2031-01-01T00:00:00Z");
      instant += 97 * 3_600_000
    ) {
      assert.equal(instantOf(wallAt(instant, zone), zone), instant, `${zone} ${instant}`);
    }
  }
});

test("a wall time that clocks skip is taken as if they had not gone forward", () => {
  assert.equal(exists("2030-03-31T02:30", ZURICH), false);
  assert.equal(wallAt(instantOf("2030-03-31T02:30", ZURICH), ZURICH), "2030-03-31T03:30:00");
  assert.equal(exists("2030-03-31T03:30", ZURICH), true);
});

test("of a wall time that happens twice the first is taken", () => {
  assert.equal(instantOf("2030-10-27T02:30", ZURICH), utc("2030-10-27T00:30:00Z"));
  assert.equal(exists("2030-10-27T02:30", ZURICH), true);
});

test("a move along the wall counts days as days", () => {
  assert.equal(moved("2030-03-30T09:00", { days: 1 }), "2030-03-31T09:00:00");
  assert.equal(moved("2030-05-15T23:45", { minutes: 30 }), "2030-05-16T00:15:00");
  assert.equal(wallOf("2030-05-15", 1440), "2030-05-16T00:00:00");
});

test("offsets and cities are said as people know them", () => {
  assert.equal(offsetText(utc("2030-07-01T00:00:00Z"), ZURICH), "+02:00");
  assert.equal(offsetText(utc("2030-07-01T00:00:00Z"), "America/St_Johns"), "-02:30");
  assert.equal(cityOf("America/Argentina/Buenos_Aires"), "Buenos Aires");
});

test("the list of zones has the names of today, and whatever else is in use", () => {
  const names = zoneNames("Mars/Olympus");
  for (const name of ["UTC", "Europe/Kyiv", "Asia/Kolkata", "Mars/Olympus"])
    assert.ok(names.includes(name), name);
  assert.ok(!names.includes("Asia/Calcutta"));
  assert.deepEqual(names, [...new Set(names)].sort());
});
