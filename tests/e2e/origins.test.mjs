// The origins that may connect, as browsers send them, and as nothing but an attacker sends them. The conformance suite
// has the rules of the comparison.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launchBrowser } from "./browser.mjs";
import { startWorker } from "./harness.mjs";
import { Raw, UPGRADE, request } from "./raw.mjs";

const TIMEOUT = 15_000;

let host;

before(async () => {
  host = await startWorker({ dir: "tests/conformance/rooms", direct: true });
});

after(() => host?.stop());

/** The path of an upgrade to a room that allows `https://example.com` and `http://localhost:8787`. */
function path(room) {
  const joining = { room: { id: room }, join: { data: {}, id: "eve", tags: [] } };
  return `/embedded/upgrade?with=${encodeURIComponent(JSON.stringify(joining))}`;
}

/** The status of an upgrade with these lines in its head. */
async function status(origins) {
  const at = { url: host.direct };
  const connection = await Raw.open(at);
  try {
    const headers = [...UPGRADE, ...origins.map((origin) => ["Origin", origin])];
    connection.write(request(at, "GET", path("forged"), headers, ""));
    return (await connection.head()).status;
  } finally {
    connection.destroy();
  }
}

test("a forged origin is refused with 403", async () => {
  for (const [origins, expected] of [
    [[], 101],
    [["https://example.com"], 101],
    [["HTTPS://EXAMPLE.COM"], 101],
    [["https://evil.example"], 403],
    // Two headers are one list, also if each of them is allowed.
    [["https://example.com", "https://evil.example"], 403],
    [["https://evil.example", "https://example.com"], 403],
    [["https://example.com", "https://example.com"], 403],
    // An empty header reaches the Worker as none.
    [[""], 101],
    [["null"], 403],
    [["https://example.com\t#"], 403],
    [["https://example.com\u00e4"], 403],
    [[`https://${"a".repeat(4_000)}.example.com`], 403],
  ]) {
    assert.deepEqual({ origins, status: await status(origins) }, { origins, status: expected });
  }
});

test("a browser's page connects if its origin is allowed, and no other page does", async () => {
  const browser = await launchBrowser();
  try {
    const url = new URL(path("browser"), host.url.replace("http", "ws")).href;
    const connect = async (address) => {
      const page = await browser.newPage();
      page.setDefaultTimeout(TIMEOUT);
      // Chromium asks its user before a page of the network may reach this machine. These pages come from no server.
      // An older Chromium neither asks nor knows the permission.
      await page.context().grantPermissions(["local-network-access"]).catch(() => {});
      // The page has this origin, whoever serves it.
      await page.route(`${address}/**`, (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));
      await page.goto(`${address}/`);
      return page.evaluate((url) => new Promise((resolve) => {
        const socket = new WebSocket(url);
        socket.addEventListener("open", () => resolve("open"));
        socket.addEventListener("close", ({ code }) => resolve(code));
      }), url);
    };
    assert.equal(await connect("http://localhost:8787"), "open");
    assert.equal(await connect("http://localhost:8788"), 1006);
    assert.equal(await connect("http://evil.example"), 1006);
  } finally {
    await browser.close();
  }
});
