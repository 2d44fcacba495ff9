// Says when it is on the visitor's own clocks, beside what the page says without script.
for (const row of document.querySelectorAll("[data-start]")) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const format = new Intl.DateTimeFormat(undefined, {
    weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit",
  });
  const [start, end] = [new Date(row.dataset.start), new Date(row.dataset.end)];
  row.querySelector("td").textContent = `${format.formatRange(start, end)} (${zone})`;
  row.hidden = false;
}
