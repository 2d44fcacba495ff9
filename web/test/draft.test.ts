import assert from "node:assert/strict";
import { test } from "node:test";

import { changes, matches, PLAIN, type Booked } from "../src/lib/calendar/appointment.ts";
import {
  addressProblem,
  entriesOf,
  formatPeople,
  parsePeople,
  peopleOf,
  peopleProblems,
  personOf,
  suggestions,
} from "../src/lib/calendar/attendees.ts";
import { lettersOf, NOBODY, sentText } from "../src/lib/calendar/letters.ts";
import {
  blank,
  blankDays,
  draftOf,
  partsOf,
  serverErrors,
  specOf,
  validate,
  wallOfParts,
  withAllDay,
  withStart,
} from "../src/lib/calendar/draft.ts";

const BOOKED: Booked = {
  ...PLAIN,
  id: "1",
  ownerId: "2",
  etag: '"1"',
  deleted: false,
  seriesId: "",
  originalStart: NaN,
  answer: null,
  organizer: null,
  held: false,
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
  assert.deepEqual(changes(specOf(draftOf(BOOKED)), BOOKED), {});
});

test("only what was typed is changed", () => {
  const draft = { ...draftOf(BOOKED), title: " Other ", ends: "2030-10-27T04:00" };
  assert.deepEqual(changes(specOf(draft), BOOKED), {
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
  const plan = specOf({ ...draft, timeZone: "Asia/Tokyo" });
  assert.equal(plan.start, Date.parse("2030-05-15T01:00:00Z"));
});

test("validate are by field, the browser's and the server's", () => {
  const draft = { ...blank(0, 3_600_000, "UTC"), ends: "1970-01-01T00:00", starts: "" };
  assert.deepEqual(Object.keys(validate(specOf(draft))), ["title", "starts"]);
  const fields = [
    { field: "appointment.attendees[1].email", description: "Not an address." },
    { field: "appointment.end_time", description: "Too late." },
    { field: "request_id", description: "Used before." },
  ];
  assert.deepEqual(serverErrors(fields), {
    people: "Not an address.",
    ends: "Too late.",
    other: "Used before.",
  });
});

test("the end goes along with the start over midnight, and stays for what could not be read", () => {
  const draft = { starts: "2030-05-15T11:00", ends: "2030-05-15T13:00" };
  assert.deepEqual(withStart(draft, "2030-05-15T23:00"), {
    starts: "2030-05-15T23:00",
    ends: "2030-05-16T01:00",
  });
  const unread = withStart(draft, "2030-05-15T");
  assert.deepEqual(unread, { starts: "2030-05-15T", ends: "2030-05-15T13:00" });
  assert.ok(Number.isNaN(specOf({ ...blank(0, 1, "UTC"), ...unread }).start));
});

test("whole days are those that were touched, and hours begin at nine", () => {
  const days = withAllDay({ starts: "2030-05-15T22:00", ends: "2030-05-16T01:00" }, true);
  assert.deepEqual(days, { starts: "2030-05-15T00:00", ends: "2030-05-17T00:00" });
  assert.deepEqual(withAllDay({ starts: "2030-05-15T22:00", ends: "2030-05-16T00:00" }, true), {
    starts: "2030-05-15T00:00",
    ends: "2030-05-16T00:00",
  });
  assert.deepEqual(withAllDay(days, false), { starts: "2030-05-15T09:00", ends: "2030-05-15T10:00" });
  const tokyo = specOf(blankDays("2030-05-15", "2030-05-15", "Asia/Tokyo"));
  assert.equal(tokyo.end, Date.parse("2030-05-15T15:00:00Z"));
});

test("what takes no time takes no rooms and has no buffers", () => {
  const draft = { ...draftOf(BOOKED), resourceIds: ["r"], bufferBefore: 10, free: true };
  assert.deepEqual(changes(specOf(draft), BOOKED), { free: true });
  assert.deepEqual(changes(specOf({ ...draft, free: false }), BOOKED), {
    resourceIds: ["r"],
    bufferBefore: 600_000,
  });
});

test("a day and a time are parts of a wall time, and each may be missing", () => {
  assert.deepEqual(partsOf("2030-05-15T09:30"), { day: "2030-05-15", minute: 570 });
  assert.deepEqual(partsOf("T09:30"), { day: null, minute: 570 });
  assert.deepEqual(partsOf("2030-05-15T"), { day: "2030-05-15", minute: null });
  for (const wall of ["2030-05-15T09:30", "T09:30", "2030-05-15T", "T"]) {
    const { day, minute } = partsOf(wall);
    assert.equal(wallOfParts(day, minute), wall);
  }
  assert.equal(wallOfParts("2030-05-31", 1470), "2030-06-01T00:30");
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

test("names with commas and quotes come back as they were, and what is pasted may be parted by spaces alone", () => {
  const people = ["Lovelace, Ada", 'Grace "Amazing" Hopper', "Back\\slash", "", "Ünal <x>"].map(
    (displayName) => ({
      email: "someone@example.org",
      displayName,
    }),
  );
  assert.deepEqual(entriesOf(formatPeople(people)).map(personOf), people);
  assert.deepEqual(entriesOf("ada@example.org grace@example.org"), ["ada@example.org", "grace@example.org"]);
  assert.deepEqual(entriesOf("Ada <a@example.org> Grace <g@example.org>"), [
    "Ada <a@example.org>",
    "Grace <g@example.org>",
  ]);
  assert.deepEqual(entriesOf('"never closed, b@example.org'), ['"never closed', "b@example.org"]);
});

test("a wrong address says why, and a right one says nothing", () => {
  const wrong = [
    "",
    "nobody",
    "a@b@example.org",
    "@example.org",
    "a@",
    "a b@example.org",
    "a@example",
    "a..b@example.org",
  ];
  for (const email of wrong) assert.notEqual(addressProblem(email), "", email);
  for (const email of ["a@example.org", "o'neil+x@example.co.uk", "jürg@bücher.example"])
    assert.equal(addressProblem(email), "", email);
  const twice = parsePeople("a@example.org, A@Example.org, nobody", []);
  assert.deepEqual(peopleProblems(twice), [
    "“A@Example.org” is there already.",
    "“nobody” is not an address: it has no @.",
  ]);
});

test("whom one meets is suggested by name and address, the most often met first, never oneself", () => {
  const others = [
    { email: "ada@example.org", displayName: "", response: 0 },
    { email: "Grace@example.org", displayName: "Grace Hopper", response: 0 },
  ];
  const known = peopleOf(
    [
      BOOKED,
      { ...BOOKED, start: BOOKED.start + 1, attendees: others },
      { ...BOOKED, attendees: [], organizer: { name: "Jürg", email: "juerg@example.org" } },
    ],
    "ADA@example.org",
  );
  assert.deepEqual(known, [
    { email: "grace@example.org", displayName: "Grace Hopper" },
    { email: "juerg@example.org", displayName: "Jürg" },
  ]);
  assert.deepEqual(suggestions(known, "hop gr", []), [known[0]]);
  assert.deepEqual(suggestions(known, "jurg", []), [known[1]]);
  assert.deepEqual(suggestions(known, "race", []), []);
  assert.deepEqual(suggestions(known, "", [{ email: "JUERG@example.org", displayName: "" }]), [known[0]]);
});

test("who comes and goes is written to, and all who stay if what they were told differs", () => {
  const people = (...emails: string[]) => emails.map((email) => ({ email, displayName: "", response: 0 }));
  const before = { ...BOOKED, attendees: people("a@example.org", "B@example.org", "own@example.org") };
  const letters = (now: Partial<Booked>, was: Booked | null = before, isRuleChanged = false) =>
    lettersOf(was, { ...before, ...now }, "OWN@example.org", isRuleChanged);
  assert.deepEqual(letters({}, null), { invited: 2, writtenTo: 2 });
  assert.deepEqual(letters({ reminders: [5], resourceIds: ["1"], bufferAfter: 1 }), NOBODY);
  assert.deepEqual(letters({ attendees: people("b@example.org", "c@example.org") }), {
    invited: 1,
    writtenTo: 2,
  });
  assert.deepEqual(letters({ title: "Other" }), { invited: 0, writtenTo: 2 });
  assert.deepEqual(letters({}, before, true), { invited: 0, writtenTo: 2 });
  assert.deepEqual(letters({ location: "", attendees: people("c@example.org") }), {
    invited: 1,
    writtenTo: 3,
  });
  assert.equal(sentText({ invited: 1, writtenTo: 3 }, "yes"), " Sent to 3 people.");
  assert.equal(sentText({ invited: 1, writtenTo: 1 }, "yes"), " Sent to 1 person.");
  assert.equal(sentText({ invited: 3, writtenTo: 3 }, "no"), " 3 invited.");
  assert.equal(sentText({ invited: 0, writtenTo: 3 }, "no"), "");
  assert.equal(sentText(NOBODY, "yes"), "");
});

test("a search finds words wherever a person wrote them", () => {
  assert.ok(matches(BOOKED, "review STUDIO"));
  assert.ok(matches(BOOKED, "grace@"));
  assert.ok(!matches(BOOKED, "review nowhere"));
});
