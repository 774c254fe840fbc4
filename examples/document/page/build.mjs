// Builds the page into ../dist, which wrangler serves.

import { fileURLToPath } from "node:url";
import { build } from "vite";

await build({
  root: fileURLToPath(new URL(".", import.meta.url)),
  configFile: false,
  logLevel: "warn",
  build: {
    outDir: fileURLToPath(new URL("../dist", import.meta.url)),
    emptyOutDir: true,
    target: "es2022",
    // The editor is most of the page, and the page is nothing without it.
    chunkSizeWarningLimit: 700,
  },
});
