import assert from "node:assert/strict";
import { test } from "node:test";

import { changes, matches, type Booked } from "../src/lib/appointment.ts";
import { formatPeople, parsePeople } from "../src/lib/attendees.ts";
import { blank, complaints, draftOf, planOf, refusals } from "../src/lib/draft.ts";

const BOOKED: Booked = {
  id: "1",
  etag: '"1"',
  deleted: false,
  title: "Review",
  // The second 02:30 of that night, and some seconds that the editor does not show.
  start: Date.parse("2030-10-27T01:30:20Z"),
  end: Date.parse("2030-10-27T02:30:00Z"),
  timeZone: "Europe/Zurich",
  location: "Studio",
  description: "",
  attendees: [{ email: "grace@example.org", displayName: "Grace", response: 2 }],
};

test("opening and saving changes nothing", () => {
  assert.deepEqual(changes(planOf(draftOf(BOOKED)), BOOKED), {});
});

test("only what was typed is changed", () => {
  const draft = { ...draftOf(BOOKED), title: " Other ", ends: "2030-10-27T04:00" };
  assert.deepEqual(changes(planOf(draft), BOOKED), {
    title: "Other",
    end: Date.parse("2030-10-27T03:00:00Z"),
  });
});

test("another zone keeps the clock time", () => {
  const draft = blank(
    Date.parse("2030-05-15T08:00:00Z"),
    Date.parse("2030-05-15T09:00:00Z"),
    "Europe/Zurich",
  );
  const plan = planOf({ ...draft, timeZone: "Asia/Tokyo" });
  assert.equal(plan.start, Date.parse("2030-05-15T01:00:00Z"));
});

test("complaints are by field, the browser's and the server's", () => {
  const draft = { ...blank(0, 3_600_000, "UTC"), ends: "1970-01-01T00:00", starts: "" };
  assert.deepEqual(Object.keys(complaints(planOf(draft))), ["title", "starts"]);
  const fields = [
    { field: "appointment.attendees[1].email", description: "Not an address." },
    { field: "appointment.end_time", description: "Too late." },
    { field: "request_id", description: "Used before." },
  ];
  assert.deepEqual(refusals(fields), { people: "Not an address.", ends: "Too late.", other: "Used before." });
});

test("people are parted by lines and commas, and keep their answers", () => {
  const people = parsePeople(
    'Grace <GRACE@example.org>, linus@example.org\n"Emmy N." <emmy@example.org>;',
    BOOKED.attendees,
  );
  assert.deepEqual(people, [
    { email: "GRACE@example.org", displayName: "Grace", response: 2 },
    { email: "linus@example.org", displayName: "", response: 0 },
    { email: "emmy@example.org", displayName: "Emmy N.", response: 0 },
  ]);
  assert.equal(formatPeople(BOOKED.attendees), "Grace <grace@example.org>");
});

test("a search finds words wherever a person wrote them", () => {
  assert.ok(matches(BOOKED, "review STUDIO"));
  assert.ok(matches(BOOKED, "grace@"));
  assert.ok(!matches(BOOKED, "review nowhere"));
});
