// Reads calendars with ical.js, which Thunderbird is built on: a JSON list of texts on stdin, a JSON list of what each
// says on stdout. Zones are those of each file alone.
import { readFileSync } from "node:fs";

import ICAL from "ical.js";

const time = (value) => (value === null ? null : value.isDate ? value.toString() : value.toUnixTime());

function said(text) {
  const calendar = new ICAL.Component(ICAL.parse(text));
  ICAL.TimezoneService.reset();
  for (const zone of calendar.getAllSubcomponents("vtimezone")) ICAL.TimezoneService.register(zone);
  const events = calendar.getAllSubcomponents("vevent").map((component) => {
    const event = new ICAL.Event(component);
    return [
      event.uid,
      event.sequence,
      time(event.recurrenceId),
      time(event.startDate),
      time(event.endDate),
      component.getFirstPropertyValue("status"),
      event.attendees.map((each) => each.getFirstValue()),
    ];
  });
  return [calendar.getFirstPropertyValue("method"), events];
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(said)));
