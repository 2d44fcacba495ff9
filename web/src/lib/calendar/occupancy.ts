/** When rooms and equipment are taken, counted over all their units. */
import type { Span } from "../time/spans.ts";
import type { Booked } from "./appointment.ts";

/** What decides whether a resource is free. */
export interface Capacity {
  /** How many appointments may have it at once. */
  readonly units: number;
  /** Milliseconds that it is taken before and after each appointment. */
  readonly bufferBefore: number;
  readonly bufferAfter: number;
}

/**
 * The times at which an appointment takes a resource. Appointments that the page may see are without their buffers;
 * times of others (without id) are with them.
 */
export function occupied(booked: Booked, { bufferBefore, bufferAfter }: Capacity): Span {
  if (booked.id === "") return { start: booked.start, end: booked.end };
  return {
    start: booked.start - booked.bufferBefore - bufferBefore,
    end: booked.end + booked.bufferAfter + bufferAfter,
  };
}

/** The spans at which no unit is left, in order. */
export function full(spans: readonly Span[], units: number): Span[] {
  const edges = spans
    .flatMap(({ start, end }) => [
      { at: start, by: 1 },
      { at: end, by: -1 },
    ])
    .sort((a, b) => a.at - b.at || a.by - b.by);
  const found: { start: number; end: number }[] = [];
  let count = 0;
  for (const { at, by } of edges) {
    const last = found.at(-1);
    if (by > 0 && ++count === units) {
      // Two that touch leave no gap.
      if (last?.end === at) last.end = NaN;
      else found.push({ start: at, end: NaN });
    } else if (by < 0 && count-- === units && last) last.end = at;
  }
  return found;
}

/** Those spans, so that whatever avoids them leaves room for the resource's buffers too. */
export function withRoom(spans: readonly Span[], { bufferBefore, bufferAfter }: Capacity): Span[] {
  return spans.map(({ start, end }) => ({ start: start - bufferAfter, end: end + bufferBefore }));
}
