// node build/node.mjs echo CLIENT BASE_URL: run every case, print the outcomes as JSON.
// node build/node.mjs visit CLIENT BASE_URL ACCOUNT: visit the appointment service; fail if something is wrong.
import { keepCookies } from "./cookies.mjs";
import { run } from "./echo.mjs";
import { visit } from "./visit.mjs";
import { XMLHttpRequest } from "./xmlhttprequest.mjs";

globalThis.XMLHttpRequest = XMLHttpRequest;
const [what, name, baseUrl, account] = process.argv.slice(2);
if (what === "visit") {
  keepCookies();
  await visit(name, baseUrl, JSON.parse(account));
} else {
  console.log(JSON.stringify(await run(name, baseUrl)));
}
process.exit(0);
