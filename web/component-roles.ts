/**
 * Takes the table and landmark roles out of @event-calendar/core while it is compiled.
 *
 * The component says `role="table"`, but its cells have no rows, its appointments are buttons beside the rows and its
 * sidebars are landmarks: assistive technology would be told of a table that is not there (axe: aria-required-children,
 * aria-required-parent). The page gives names and keys of its own instead (Grid.svelte). Every replacement must
 * still find its text, so that a new version of the component cannot bring the roles back unseen.
 */
import type { Plugin } from "vite";

const COMPONENT = /@event-calendar\/core\/src\/(.+\.svelte)$/;

const REPLACEMENTS: Record<string, [from: string | RegExp, to: string][]> = {
  "Calendar.svelte": [[/role="\{features\.includes\('list'\) \? 'list' : 'table'\}"/, 'role="none"']],
  "Toolbar.svelte": [[/<nav class="\{theme\.toolbar\}">[\s\S]*<\/nav>/, ""]],
  "lib/components/BaseDay.svelte": [[/^ {4}\{role\}\n/m, ""]],
  "lib/components/BaseEvent.svelte": [
    [/<article/g, "<div"],
    [/<\/article>/g, "</div>"],
  ],
  "lib/components/ColHead.svelte": [
    [/^ {4}role="\{ariaHidden \? null : 'columnheader'\}"\n/m, ""],
    [/^ {4}aria-colspan=.*\n/m, ""],
    [/^ {4}aria-colindex=.*\n/m, ""],
  ],
  "lib/components/DayHeader.svelte": [[/^ {4}aria-label=.*\n/m, ""]],
  "plugins/day-grid/View.svelte": [
    [/ role="row"/g, ""],
    [/^ +role="columnheader"\n/m, ""],
    [/^ +aria-colindex=.*\n/m, ""],
    [/^ +aria-label="\{intlDayHeaderAL.*\n/m, ""],
  ],
  "plugins/time-grid/View.svelte": [
    [/ role="row(group)?"/g, ""],
    [/<aside/g, "<div"],
    [/<\/aside>/g, "</div>"],
  ],
  "plugins/resource-timeline/View.svelte": [
    [/ role="row(group|header)?"/g, ""],
    [/<aside/g, "<div"],
    [/<\/aside>/g, "</div>"],
  ],
  "plugins/resource-time-grid/Label.svelte": [[/^ {4}aria-label=.*\n/m, ""]],
  "plugins/day-grid/Popup.svelte": [
    [/<dialog\n/, "<dialog\n    aria-label={el?.querySelector('time')?.textContent}\n"],
  ],
  "plugins/list/Day.svelte": [
    [/<h4/g, "<h2"],
    [/<\/h4>/g, "</h2>"],
  ],
};

export function componentRoles(): Plugin {
  return {
    name: "component-roles",
    enforce: "pre",
    transform(code, id) {
      const file = COMPONENT.exec(id)?.[1];
      const replacements = file && REPLACEMENTS[file];
      if (!replacements) return null;
      let sound = code;
      for (const [from, to] of replacements) {
        const next = sound.replace(from, to);
        if (next === sound) this.error(`${file} no longer has ${from}: look at its roles again`);
        sound = next;
      }
      return { code: sound, map: null };
    },
  };
}
