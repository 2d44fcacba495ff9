/**
 * What an operator follows a click by: a `traceparent` (W3C Trace Context) on every call, one trace for each click.
 *
 * Calls that nobody has asked for just now, such as a refresh in the background, are traces of their own.
 */
const OF_ONE_CLICK = 2000;

const hex = (bytes: number): string =>
  Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (each) =>
    each.toString(16).padStart(2, "0"),
  ).join("");

let trace = "";
let clicked = -Infinity;

for (const kind of ["pointerdown", "keydown"])
  addEventListener(
    kind,
    () => {
      trace = hex(16);
      clicked = performance.now();
    },
    { capture: true, passive: true },
  );

/** The header of a call that begins now. */
export function traceparent(): string {
  const id = performance.now() - clicked < OF_ONE_CLICK ? trace : hex(16);
  return `00-${id}-${hex(8)}-01`;
}
