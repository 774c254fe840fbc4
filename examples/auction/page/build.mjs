// Builds the page with Vite into dist/, which wrangler serves. Vite's cache stays out of the folder of the packages.

import { fileURLToPath } from "node:url";
import { build } from "vite";

const file = (path) => fileURLToPath(new URL(path, import.meta.url));

await build({
  root: file("."),
  configFile: false,
  logLevel: "warn",
  cacheDir: file("../build/vite"),
  // The client's own source in this repository. Elsewhere `npm install room-client` takes the place of this line.
  resolve: { alias: { "room-client": file("../../../clients/typescript/src/index.ts") } },
  build: {
    outDir: file("../dist"),
    emptyOutDir: true,
    target: "es2022",
    sourcemap: true,
    // Each browser of this target preloads modules by itself.
    modulePreload: { polyfill: false },
  },
});
