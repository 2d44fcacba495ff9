/** Free time between appointments. */

/** From the first instant to the first that is outside: [start, end). */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Whether the two share an instant; 10–11 and 11–12 do not. */
export const overlap = (one: Span, other: Span): boolean => one.start < other.end && other.start < one.end;

/**
 * The free span of the same length that begins nearest to the wanted one, within a day and not before an instant;
 * of two equally near, the later. Only a span that touches what is taken can be the nearest, so only those are tried.
 */
export function nearestFree(
  wanted: Span,
  taken: readonly Span[],
  day: Span,
  notBefore = -Infinity,
): Span | null {
  const length = wanted.end - wanted.start;
  const starts = [wanted.start, notBefore, day.start, day.end - length];
  for (const { start, end } of taken) starts.push(end, start - length);
  const fits = (start: number): boolean =>
    start >= Math.max(day.start, notBefore) &&
    start + length <= day.end &&
    !taken.some((span) => overlap(span, { start, end: start + length }));
  const best = starts
    .filter(fits)
    .sort((a, b) => Math.abs(a - wanted.start) - Math.abs(b - wanted.start) || b - a)
    .at(0);
  return best === undefined ? null : { start: best, end: best + length };
}

/** The parts of some spans that lie within a window. */
export const cut = (spans: readonly Span[], window: Span): Span[] =>
  spans
    .filter((span) => overlap(span, window))
    .map(({ start, end }) => ({ start: Math.max(start, window.start), end: Math.min(end, window.end) }));

/** What is usual of a day, and as much more of it as these spans take. */
export function including(usual: Span, day: Span, spans: readonly Span[]): Span {
  const within = cut(spans, day);
  const start = Math.min(usual.start, ...within.map((span) => span.start));
  const end = Math.max(usual.end, ...within.map((span) => span.end));
  return { start, end };
}
