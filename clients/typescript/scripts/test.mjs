// Everything that has to hold for the package: the build, the types, the tests, and the package as others see it.
import { execFileSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, compile } from "./build.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const only = process.argv.slice(2);

/** The program of an installed package. */
const program = (path) => join(root, "node_modules", path);
const node = (...args) => execFileSync(process.execPath, args, { cwd: root, stdio: "inherit" });

const tests = () =>
  readdirSync(join(root, "build/test"))
    .filter((file) => file.endsWith(".test.js"))
    .filter((file) => only.length === 0 || only.some((name) => file.startsWith(name)))
    .map((file) => join("build/test", file));

const steps = {
  build,
  types() {
    rmSync(join(root, "build"), { recursive: true, force: true });
    compile("test/tsconfig.json");
  },
  tests: () => node("--enable-source-maps", "--test", "--test-reporter=spec", ...tests()),
  publint: () => node(program("publint/src/cli.js"), "--strict"),
  // The package is for `import` only. CommonJS gets it by `import()`, and by `require` in Node.js from 22.12 on.
  attw: () => node(program("@arethetypeswrong/cli/dist/index.js"), "--pack", ".", "--profile", "esm-only"),
};

for (const [name, step] of Object.entries(steps)) {
  if (only.length > 0 && (name === "publint" || name === "attw")) continue;
  console.log(`\n==> ${name}`);
  try {
    step();
  } catch (error) {
    // The program has said why.
    if (error.status === undefined) throw error;
    console.error(`==> ${name} failed`);
    process.exit(1);
  }
}
