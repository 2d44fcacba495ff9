/** What the two grids share: how appointments are given to the calendar component, and what its answers mean. */
import type { Calendar } from "@event-calendar/core";

import type { Booked } from "../../lib/calendar/appointment.ts";
import { colourOf } from "../../lib/calendar/colour.ts";
import { closed, type Opened } from "../../lib/calendar/hours.ts";
import { store } from "../../lib/calendar/store.svelte.ts";
import { clockOf, dayText, spanText, type TimeStyle } from "../../lib/time/format.ts";
import type { Span } from "../../lib/time/spans.ts";
import { dayAfter, dayOf, instantOf, MINUTE, moved, offsetText, wallAt } from "../../lib/time/zones.ts";

const BRIEF = 40 * MINUTE;

/** The options that both grids have. A change of the zone or the clock builds a new grid, so they are read once. */
export function baseOptions(timeStyle: TimeStyle, firstDay: 0 | 1 | 2 | 3 | 4 | 5 | 6): Calendar.Options {
  const allDay = document.createElement("span");
  allDay.textContent = "All day";
  return {
    height: "100%",
    allDaySlot: true,
    allDayContent: { domNodes: [allDay] },
    editable: true,
    eventGap: 2,
    firstDay,
    locale: timeStyle.locale,
    longPressDelay: 350,
    nowIndicator: true,
    scrollTime: "07:00",
    selectable: true,
    slotEventOverlap: false,
    slotHeight: 27,
    snapDuration: "00:15",
    // A fixed offset, for the line that says what time it is now.
    timeZone: offsetText(Date.now(), timeStyle.zone),
    unselectCancel: "dialog",
    slotLabelFormat: { ...clockOf(timeStyle.hour12), ...(timeStyle.hour12 ? {} : { minute: "2-digit" }) },
    eventTimeFormat: { ...clockOf(timeStyle.hour12), minute: "2-digit" },
  };
}

/** The head of a day: the weekday small, the date large. */
export const dayHeading =
  (locale: string) =>
  (date: Date): Calendar.Content => {
    const weekday = document.createElement("span");
    weekday.textContent = new Intl.DateTimeFormat(locale, { weekday: "short" }).format(date);
    const number = document.createElement("b");
    number.textContent = String(date.getDate());
    return { domNodes: [weekday, number] };
  };

/** "YYYY-MM-DD" of a date of the component, which are local ones. */
export const isoDay = (date: Date): string =>
  [date.getFullYear(), date.getMonth() + 1, date.getDate()]
    .map((part) => String(part).padStart(2, "0"))
    .join("-");

/** The wall times at which an appointment is shown. Whole days are those of its own zone, wherever one looks from. */
function wallsOf({ start, end, allDay, timeZone }: Booked, zone: string): { start: string; end: string } {
  const shown = allDay ? timeZone : zone;
  return { start: wallAt(start, shown), end: wallAt(end, shown) };
}

/** How an appointment is drawn. */
export function inputOf(booked: Booked, zone: string, colour = colourOf(booked.title)): Calendar.EventInput {
  return {
    id: booked.id,
    ...wallsOf(booked, zone),
    allDay: booked.allDay,
    title: booked.title,
    // Whoever is invited cannot move it.
    ...(booked.answer === null ? {} : { startEditable: false, durationEditable: false }),
    classNames: [
      `hue-${colour}`,
      ...(!booked.allDay && booked.end - booked.start <= BRIEF ? ["brief"] : []),
      ...(booked.end <= Date.now() ? ["past"] : []),
      ...(booked.free ? ["free"] : []),
      ...(booked.answer === null ? [] : ["invited", `answer-${booked.answer}`]),
      ...(store.unsettled(booked.id) ? ["unsettled"] : []),
      ...(store.arrived(booked.id) ? ["arrived"] : []),
    ],
  };
}

/** The time before and after it that it takes too, as bands behind it. */
export function bufferInputs(booked: Booked, zone: string): Calendar.EventInput[] {
  const { id, start, end, bufferBefore, bufferAfter } = booked;
  const bands = [
    { id: `${id} before`, from: start - bufferBefore, until: start },
    { id: `${id} after`, from: end, until: end + bufferAfter },
  ];
  return bands
    .filter(({ from, until }) => from < until)
    .map(({ id: band, from, until }) => ({
      id: band,
      start: wallAt(from, zone),
      end: wallAt(until, zone),
      display: "background" as const,
      classNames: ["buffer"],
    }));
}

/** The time at which somebody or something is closed, shaded. */
export function closedInputs(
  hours: Opened | undefined,
  home: string,
  window: Span | undefined,
  zone: string,
): Calendar.EventInput[] {
  if (!window) return [];
  return closed(hours, home, window).map(({ start, end }) => ({
    id: `closed ${start}`,
    start: wallAt(start, zone),
    end: wallAt(end, zone),
    display: "background" as const,
    classNames: ["closed"],
  }));
}

/** The days that it touches. */
export function daysOf(booked: Booked, zone: string): string[] {
  const { start, end } = wallsOf(booked, zone);
  const last = dayOf(moved(end, { minutes: -1 }));
  const days = [dayOf(start)];
  for (let day = dayAfter(dayOf(start), 1); day <= last; day = dayAfter(day, 1)) days.push(day);
  return days;
}

/** "14:30 – 15:00", or that it is about whole days. */
export function whenText(booked: Booked, timeStyle: TimeStyle): string {
  return booked.allDay ? "All day" : spanText(booked.start, booked.end, timeStyle);
}

/** The day on which it begins, as it is shown. */
export const dayTextOf = (booked: Booked, timeStyle: TimeStyle): string =>
  dayText(booked.start, { ...timeStyle, zone: booked.allDay ? booked.timeZone : timeStyle.zone });

const shifted = (instant: number, zone: string, by: Calendar.Duration): number =>
  instantOf(moved(wallAt(instant, zone), { days: by.days, minutes: by.seconds / 60 }), zone);

/** Where it is after a drag. The clock time moves; how long it lasts stays, across a change of the clocks too. */
export function dragged(booked: Booked, zone: string, delta: Calendar.Duration): Span {
  if (booked.allDay) {
    const { start, end, timeZone } = booked;
    return { start: shifted(start, timeZone, delta), end: shifted(end, timeZone, delta) };
  }
  const start = shifted(booked.start, zone, delta);
  return { start, end: start + booked.end - booked.start };
}

/** What it is after its end was pulled. */
export function resized(booked: Booked, zone: string, delta: Calendar.Duration): Span {
  return { start: booked.start, end: shifted(booked.end, booked.allDay ? booked.timeZone : zone, delta) };
}
