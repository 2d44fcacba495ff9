/** While the pointer is pressed in the calendar, what it holds must not change under it: news wait until it is let go. */
const ENDS = ["pointerup", "pointercancel", "blur"];

let pressed: Promise<void> | null = null;

/** The pointer was pressed. */
export function press({ isPrimary, button }: PointerEvent): void {
  if (!isPrimary || button !== 0 || pressed) return;
  pressed = new Promise((resolve) => {
    const release = (): void => {
      for (const end of ENDS) removeEventListener(end, release);
      // What was done with it comes first: a drop is judged by what was seen.
      setTimeout(() => {
        pressed = null;
        resolve();
      });
    };
    for (const end of ENDS) addEventListener(end, release);
  });
}

/** Wait until it is not. */
export async function released(): Promise<void> {
  while (pressed) await pressed;
}
