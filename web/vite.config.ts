import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

import { componentRoles } from "./component-roles.ts";

/** Paths that the server answers, for `npm run dev` beside a running one. */
const SERVER = process.env["APPOINTMENTS_URL"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [componentRoles(), svelte()],
  build: {
    outDir: process.env["PAGE_OUT"] ?? "../src/appointments/page",
    emptyOutDir: true,
    target: "es2023",
    // Inline data: fonts or scripts would need a wider Content-Security-Policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { "/auth": SERVER, "/appointments.v1": SERVER } },
});
