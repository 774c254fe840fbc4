// The handshake as a client sees it: the requests that count as handshakes, the headers that the Worker adds to the
// response, and subprotocols as browsers use them. The room's report shows that a refused request has no effect.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import WebSocket from "ws";
import { UpgradeRefused, startWorker } from "./harness.mjs";
import { Raw, UPGRADE, request } from "./raw.mjs";

let host;

before(async () => {
  host = await startWorker({ dir: "tests/e2e/rooms", direct: true });
});

after(() => host?.stop());

async function report(client) {
  client.send({ _tag: "Report" });
  return client.next({ where: ({ _tag }) => _tag === "Report" });
}

/** The head of the Worker's response, without Miniflare in between. */
async function answer(method, path, changed = {}, body = "") {
  const headers = new Map([...UPGRADE, ...Object.entries(changed)].filter(([, value]) => value !== null));
  for (const [name, value] of Object.entries(changed)) if (value === null) headers.delete(name);
  const at = { url: host.direct };
  const connection = await Raw.open(at);
  try {
    connection.write(request(at, method, path, [...headers], body));
    return await connection.head();
  } finally {
    connection.destroy();
  }
}

test("an invalid handshake is refused before it reaches the room", async () => {
  const path = "/ws/no-handshake?id=eve&name=Eve";
  for (const method of ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
    const { status, headers } = await answer(method, path, {}, method === "POST" ? "hello" : "");
    assert.deepEqual({ method, status, allow: headers.allow }, { method, status: 400, allow: "GET" });
  }
  for (const [changed, expected] of [
    // workerd removes `upgrade` from a response other than 101.
    [{ Upgrade: null }, { status: 426 }],
    [{ Upgrade: "h2c, websocket" }, { status: 426 }],
    [{ "Sec-WebSocket-Version": null }, { status: 426, version: "13" }],
    [{ "Sec-WebSocket-Version": "8" }, { status: 426, version: "13" }],
    [{ "Sec-WebSocket-Key": null }, { status: 400 }],
    [{ "Sec-WebSocket-Key": "" }, { status: 400 }],
    [{ "Sec-WebSocket-Key": "c2hvcnQ=" }, { status: 400 }],
    [{ "Sec-WebSocket-Key": null, "Sec-WebSocket-Version": null }, { status: 426, version: "13" }],
    [{ "Transfer-Encoding": "chunked" }, { status: 400 }],
  ]) {
    const { status, headers } = await answer("GET", path, changed);
    assert.deepEqual(
      { changed, status, version: headers["sec-websocket-version"] },
      { changed, version: undefined, ...expected },
    );
  }
  assert.equal((await answer("GET", path)).status, 101);
  const alice = await host.ws("/ws/no-handshake?id=alice&name=Alice");
  assert.deepEqual(await report(alice).then(({ starts, connects }) => ({ starts, connects })), { starts: 1, connects: 2 });
});

test("the Worker sets cookies on a 101 and allows another origin to see a 403", async () => {
  const upgraded = new Promise((resolve, reject) => {
    const url = new URL("/ws/cookies?id=alice&name=Alice&session=s1", host.url.replace("http", "ws"));
    const socket = new WebSocket(url, { perMessageDeflate: false });
    socket.once("upgrade", (response) => {
      resolve(response.headers);
      socket.terminate();
    });
    socket.once("error", reject);
  });
  const headers = await upgraded;
  assert.deepEqual(headers["set-cookie"], ["session=s1; HttpOnly", "seen=1"]);
  // The socket of such a response works.
  const bob = await host.ws("/ws/cookies?id=bob&name=Bob&session=s2");
  assert.equal((await report(bob)).sender, "bob");
  assert.equal((await bob.close(1000)).code, 1000);

  const refused = await host.ws("/ws/cookies?id=eve&name=forbidden&session=s3").then(
    () => assert.fail("it was admitted"),
    (error) => error,
  );
  assert.ok(refused instanceof UpgradeRefused, refused.stack);
  assert.deepEqual([refused.status, refused.body], [403, "not you"]);
  assert.equal(refused.headers["access-control-allow-origin"], "https://app.example");
  assert.equal(refused.headers["access-control-allow-credentials"], "true");
  assert.deepEqual(refused.headers["set-cookie"], ["session=s3; HttpOnly", "seen=1"]);
});

test("a token may come as a subprotocol: the one that the Worker chooses is the answer", async () => {
  const alice = await host.ws("/ws/protocols?id=alice&name=Alice&protocol=bearer", { protocols: ["bearer", "t0ken"] });
  assert.equal(alice.raw.protocol, "bearer");
  assert.equal((await report(alice)).sender, "alice");

  // Messages that `room.v1` would send in an array arrive separately.
  const bob = await host.ws("/ws/protocols?id=bob&name=Bob&protocol=bearer", { protocols: ["room.v1", "bearer"] });
  assert.equal(bob.raw.protocol, "bearer");
  assert.equal((await report(bob)).sender, "bob");

  const refused = await host.ws("/ws/protocols?id=eve&name=Eve", { protocols: ["bearer", "t0ken"] }).then(
    () => assert.fail("it was admitted"),
    (error) => error,
  );
  assert.ok(refused instanceof UpgradeRefused, refused.stack);
  assert.equal(refused.status, 400);
  assert.match(refused.body, /`bearer`, `t0ken`.*`Upgrade::protocol`/);
  const { connects, peers } = await report(alice);
  assert.deepEqual({ connects, peers }, { connects: 2, peers: ["alice", "bob"] });
});
