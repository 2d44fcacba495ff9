/** Appointments of the same title have the same colour, so that what recurs is recognised at a glance. */
export const COLOURS = 6;

export function colourOf(title: string): number {
  let hash = 7;
  for (const character of title.trim().toLocaleLowerCase())
    hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 65_521;
  return hash % COLOURS;
}
