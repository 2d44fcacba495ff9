/** A User-Agent in words, as far as a person needs to recognise a device. The first that fits counts. */
const BROWSERS: [RegExp, string][] = [
  [/Edg(e|A|iOS)?\//, "Edge"],
  [/OPR\//, "Opera"],
  [/Firefox\/|FxiOS\//, "Firefox"],
  [/Chrome\/|CriOS\/|Chromium\//, "Chrome"],
  [/Safari\//, "Safari"],
];
const SYSTEMS: [RegExp, string][] = [
  [/iPhone|iPad/, "iOS"],
  [/Android/, "Android"],
  [/Windows/, "Windows"],
  [/Mac OS X/, "macOS"],
  [/CrOS/, "ChromeOS"],
  [/Linux/, "Linux"],
];

const first = (agent: string, names: [RegExp, string][]): string | undefined =>
  names.find(([pattern]) => pattern.test(agent))?.[1];

/** "Firefox on Linux"; the program's own words where it is none of the known ones. */
export function deviceOf(agent: string): string {
  const browser = first(agent, BROWSERS);
  const system = first(agent, SYSTEMS);
  if (!browser) return agent.slice(0, 60) || "Unknown browser";
  return system ? `${browser} on ${system}` : browser;
}
