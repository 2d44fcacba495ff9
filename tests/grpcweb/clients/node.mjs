// node build/node.mjs CLIENT BASE_URL: run every case, print the outcomes as JSON.
import { run } from "./clients.mjs";
import { XMLHttpRequest } from "./xmlhttprequest.mjs";

globalThis.XMLHttpRequest = XMLHttpRequest;
const [name, baseUrl] = process.argv.slice(2);
console.log(JSON.stringify(await run(name, baseUrl)));
process.exit(0);
