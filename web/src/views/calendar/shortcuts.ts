/**
 * The keys of the calendar page.
 *
 * Single letters work while the focus is in the calendar, and nowhere else (WCAG 2.1.4): who types or dictates text
 * must not trip over them. The calendar has the focus after signing in, and gets it back when a dialog closes.
 */
import type { View } from "../../lib/settings.svelte.ts";

/** What a key does. */
export interface Actions {
  view: (view: View) => void;
  resources: () => void;
  create: () => void;
  today: () => void;
  find: () => void;
  invitations: () => void;
  search: () => void;
  help: () => void;
}

interface Shortcut {
  readonly keys: readonly string[];
  readonly text: string;
  readonly run?: (actions: Actions) => void;
}

/** All of them, in the order in which the help lists them. Those without `run` are the grid's own. */
export const SHORTCUTS: readonly Shortcut[] = [
  { keys: ["N"], text: "New appointment", run: ({ create }) => create() },
  { keys: ["F"], text: "Find a time", run: ({ find }) => find() },
  { keys: ["I"], text: "Invitations to answer", run: ({ invitations }) => invitations() },
  { keys: ["T"], text: "Go to today", run: ({ today }) => today() },
  { keys: ["M"], text: "Month", run: ({ view }) => view("month") },
  { keys: ["W"], text: "Week", run: ({ view }) => view("week") },
  { keys: ["D"], text: "Day", run: ({ view }) => view("day") },
  { keys: ["A"], text: "Agenda", run: ({ view }) => view("agenda") },
  { keys: ["R"], text: "Show or hide rooms and equipment", run: ({ resources }) => resources() },
  { keys: ["/"], text: "Search", run: ({ search }) => search() },
  { keys: ["←", "→", "↑", "↓"], text: "Move through days and times" },
  { keys: ["Shift", "↑", "↓"], text: "Make the selected time shorter or longer" },
  { keys: ["Page Up", "Page Down"], text: "Previous or next page" },
  { keys: ["Enter"], text: "Book the selected time, or open an appointment" },
  { keys: ["Tab"], text: "Go to the next appointment" },
  { keys: ["?"], text: "Show these shortcuts", run: ({ help }) => help() },
];

const byKey = new Map(SHORTCUTS.flatMap(({ keys, run }) => (run ? [[keys[0]?.toLowerCase(), run]] : [])));

/** Do what the key stands for; false if it stands for nothing. */
export function runShortcut(event: KeyboardEvent, actions: Actions): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return false;
  const run = byKey.get(event.key.toLowerCase());
  if (!run) return false;
  event.preventDefault();
  run(actions);
  return true;
}
