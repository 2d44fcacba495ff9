// Reads a calendar on stdin with ical.js, which Thunderbird is built on, and writes every occurrence before a moment
// (its one argument, seconds of Unix time) as JSON. Zones are those of the file alone.
import { readFileSync } from "node:fs";

import ICAL from "ical.js";

const end = Number(process.argv[2]);
const calendar = new ICAL.Component(ICAL.parse(readFileSync(0, "utf8")));
for (const zone of calendar.getAllSubcomponents("vtimezone")) ICAL.TimezoneService.register(zone);

const series = new Map();
for (const component of calendar.getAllSubcomponents("vevent")) {
  const uid = component.getFirstPropertyValue("uid");
  const parts = series.get(uid) ?? { masters: [], exceptions: [] };
  (component.hasProperty("recurrence-id") ? parts.exceptions : parts.masters).push(component);
  series.set(uid, parts);
}

const said = (time) => (time.isDate ? time.toString() : time.toUnixTime());
const found = [];
for (const [uid, { masters, exceptions }] of series) {
  if (masters.length !== 1) throw new Error(`${uid} has ${masters.length} components without a RECURRENCE-ID`);
  const event = new ICAL.Event(masters[0], { exceptions, strictExceptions: true });
  const times = event.iterator();
  for (let time = times.next(); time && time.toUnixTime() < end; time = times.next()) {
    const { item, startDate, endDate } = event.getOccurrenceDetails(time);
    const status = item.component.getFirstPropertyValue("status");
    found.push({ uid, title: item.summary, start: said(startDate), end: said(endDate), status });
  }
}
process.stdout.write(JSON.stringify(found));
