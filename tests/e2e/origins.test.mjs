// The origins that may connect, as browsers send them, and as nothing but an attacker sends them. The conformance suite
// has the rules of the comparison.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startWorker } from "./harness.mjs";
import { Raw, UPGRADE, request } from "./raw.mjs";

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
