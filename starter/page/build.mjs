// Bundles the script of the page into public/, beside the files that are served as they are.

import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const file = (path) => fileURLToPath(new URL(path, import.meta.url));

await build({
  entryPoints: [file("main.ts")],
  outfile: file("../public/page.js"),
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  minify: true,
  sourcemap: true,
  logLevel: "warning",
});
