import assert from "node:assert/strict";
import test from "node:test";

import { changes, fromMessage, toMessage } from "../src/lib/calendar/appointment.ts";
import { blank, specOf } from "../src/lib/calendar/draft.ts";
import { FARTHEST, problemOf, remindersText, reminderText } from "../src/lib/calendar/reminders.ts";

test("a reminder is said in the largest units that fit", () => {
  const said: [number, string][] = [
    [0, "at the start"],
    [1, "1 minute before"],
    [90, "1 hour 30 minutes before"],
    [1440, "1 day before"],
    [11_520, "8 days before"],
    [20_160, "2 weeks before"],
  ];
  for (const [minutes, text] of said) assert.equal(reminderText(minutes), text);
  assert.equal(remindersText([10, 60]), "1 hour before, 10 minutes before");
  assert.equal(remindersText([]), "none");
});

test("what cannot be added says why", () => {
  assert.equal(problemOf(10, [5]), "");
  assert.equal(problemOf(5, [5]), "There is one already.");
  assert.equal(problemOf(NaN, []), "Please type a whole number.");
  assert.equal(problemOf(-1, []), "Please type a whole number.");
  assert.equal(problemOf(FARTHEST + 1, []), "At most four weeks before.");
  assert.equal(problemOf(6, [1, 2, 3, 4, 5]), "At most 5 reminders.");
});

test("own reminders, none and the account's are three things", () => {
  const draft = blank(0, 3_600_000, "UTC");
  for (const reminders of [null, [], [10, 60]]) {
    const spec = specOf({ ...draft, reminders });
    assert.deepEqual(fromMessage(toMessage(spec)).reminders, reminders);
    assert.deepEqual(Object.keys(changes(spec, specOf(draft))), reminders === null ? [] : ["reminders"]);
  }
});
