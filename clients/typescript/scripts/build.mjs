// Builds dist, and puts the licenses beside it, where npm packs them.
import { execFileSync } from "node:child_process";
import { copyFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const tsc = join(root, "node_modules/typescript/bin/tsc");

export function compile(project) {
  execFileSync(process.execPath, [tsc, "--project", project], { cwd: root, stdio: "inherit" });
}

export function build() {
  rmSync(join(root, "dist"), { recursive: true, force: true });
  compile("tsconfig.json");
  for (const license of ["LICENSE-APACHE", "LICENSE-MIT"]) copyFileSync(join(root, "../..", license), join(root, license));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    build();
  } catch (error) {
    // The compiler has said why.
    process.exitCode = error.status ?? 1;
  }
}
