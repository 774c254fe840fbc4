// Bundles the page's script into public/, beside the files that are served as they are. esbuild reads the path of
// `room-client` from tsconfig.json.

import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const file = (path) => fileURLToPath(new URL(path, import.meta.url));

await build({
  entryPoints: [file("main.ts")],
  outfile: file("../public/chat.js"),
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  minify: true,
  sourcemap: true,
  logLevel: "warning",
});
