// The example with signed tokens: forged, expired and foreign tokens over real sockets, key rotation, and the page in a
// real browser.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import { launchBrowser } from "./browser.mjs";
import { UpgradeRefused, startWorker } from "./harness.mjs";

const OLD = "old-0123456789abcdef0123456789abcdef";
const NEW = "new-fedcba9876543210fedcba9876543210";
const TIMEOUT = 15_000;

let host;

before(async () => {
  host = await startWorker({ dir: "examples/auth", vars: { TOKEN_KEYS: `new=${NEW} old=${OLD}` } });
});

after(() => host?.stop());

function part(value) {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

/** Signs a token as another service with a key would. */
function forge({ header = {}, claims = {}, key = NEW, algorithm = "sha256" } = {}) {
  const now = Math.floor(Date.now() / 1_000);
  const signed = [
    part({ alg: "HS256", kid: "new", ...header }),
    part({ sub: "eve", room: "r1", iat: now, exp: now + 60, ...claims }),
  ].join(".");
  return `${signed}.${createHmac(algorithm, key).update(signed).digest("base64url")}`;
}

async function logIn(user, room, worker = host) {
  const response = await worker.fetch("/login", { method: "POST", body: JSON.stringify({ user, room }) });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("cache-control"), "no-store");
  return (await response.json()).token;
}

function enter(room, token, worker = host) {
  return worker.ws(`/ws/${room}`, { protocols: ["bearer", token] });
}

/** The response to an upgrade with this token, which must be refused. */
async function refusal(room, token, options = { protocols: ["bearer", token] }) {
  const error = await host.ws(`/ws/${room}`, options).then(() => assert.fail(`${token} was admitted`), (error) => error);
  assert.ok(error instanceof UpgradeRefused, error.stack);
  return error;
}

test("a token of the log-in admits its user", async () => {
  const token = await logIn("ada", "r1");
  const ada = await enter("r1", token);
  assert.equal(ada.raw.protocol, "bearer");
  assert.deepEqual(await ada.next(), { type: "Joined", user: "ada" });
  ada.send({ type: "Say", text: "hello" });
  assert.deepEqual(await ada.next(), { type: "Said", user: "ada", text: "hello" });
  // A client that is no browser can send the token in the header.
  const bob = await host.ws("/ws/r1", { headers: { authorization: `Bearer ${await logIn("bob", "r1")}` } });
  assert.deepEqual(await bob.next(), { type: "Joined", user: "bob" });
  // The forgery of this file is valid where it is not changed.
  const eve = await enter("r1", forge());
  assert.deepEqual(await eve.next(), { type: "Joined", user: "eve" });
});

test("a token that is expired, forged, changed or for another room is refused, with the reason", async () => {
  const now = Math.floor(Date.now() / 1_000);
  const valid = forge();
  const [header, claims, signature] = valid.split(".");
  for (const [what, token, status, reason] of [
    ["expired", forge({ claims: { exp: now - 1 } }), 401, "expired"],
    ["without an expiry", forge({ claims: { exp: undefined } }), 401, "expired"],
    ["of a wrong key", forge({ key: OLD }), 401, "signature"],
    ["of an unknown key", forge({ header: { kid: "other" } }), 401, "signature"],
    ["without a key id", forge({ header: { kid: undefined } }), 401, "signature"],
    ["for another room", forge({ claims: { room: "r2" } }), 403, "another room"],
    ["without a room", forge({ claims: { room: undefined } }), 401, "sign in"],
    ["of the algorithm none", `${part({ alg: "none", kid: "new" })}.${claims}.`, 401, "signature"],
    ["none, with a signature", `${part({ alg: "none", kid: "new" })}.${claims}.${signature}`, 401, "signature"],
    ["of another algorithm", forge({ header: { alg: "HS512" }, algorithm: "sha512" }), 401, "signature"],
    ["with other claims", `${header}.${part({ sub: "ada", room: "r1", exp: now + 60 })}.${signature}`, 401, "signature"],
    ["with a changed signature", `${header}.${claims}.${signature.slice(0, -2)}AA`, 401, "signature"],
    ["without a signature", `${header}.${claims}.`, 401, "signature"],
    ["no token", "hello", 401, "sign in"],
  ]) {
    const refused = await refusal("r1", token);
    assert.deepEqual({ what, status: refused.status }, { what, status });
    assert.match(refused.body, new RegExp(reason), what);
    assert.match(refused.headers["www-authenticate"], /^Bearer error="(invalid_token|insufficient_scope)"/, what);
  }
  const without = await refusal("r1", "nothing", {});
  assert.equal(without.status, 401);
});

test("a key is replaced without signing users out", async () => {
  const old = forge({ header: { kid: "old" }, key: OLD });
  assert.deepEqual(await (await enter("rotated", forge({ claims: { room: "rotated" } }))).next(), { type: "Joined", user: "eve" });
  assert.deepEqual(await (await enter("r1", old)).next(), { type: "Joined", user: "eve" });
  // The newest key signs.
  const [header] = (await logIn("ada", "r1")).split(".");
  assert.equal(JSON.parse(Buffer.from(header, "base64url")).kid, "new");
});

test("the log-in refuses what is no name", async () => {
  for (const body of ["", "{}", JSON.stringify({ user: "", room: "r1" }), JSON.stringify({ user: "a/b", room: "r1" })]) {
    assert.equal((await host.fetch("/login", { method: "POST", body })).status, 400, body);
  }
  assert.equal((await host.fetch("/ws/a%2Fb")).status, 404);
});

test("the page signs in and connects with its token", async () => {
  const browser = await launchBrowser();
  try {
    const problems = [];
    const open = async (user) => {
      const context = await browser.newContext();
      const page = await context.newPage();
      page.setDefaultTimeout(TIMEOUT);
      page.on("pageerror", (error) => problems.push(error.message));
      page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
      await page.goto(host.url);
      await page.getByLabel("Name").fill(user);
      await page.getByLabel("Room").fill("page");
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByText("connected with bearer").waitFor();
      return page;
    };
    const ada = await open("ada");
    const bob = await open("bob");
    await ada.getByText("bob joined").waitFor();
    await bob.getByLabel("Message").fill("hello");
    await bob.getByRole("button", { name: "Send" }).click();
    await ada.getByText("bob: hello").waitFor();
    // A page with a refused token sees a failure of the connection.
    const code = await ada.evaluate(async () => {
      const url = new URL("/ws/page", location.href.replace("http", "ws"));
      const socket = new WebSocket(url, ["bearer", "x.y.z"]);
      return new Promise((resolve) => socket.addEventListener("close", ({ code }) => resolve(code)));
    });
    assert.equal(code, 1006);
    assert.ok(problems.every((problem) => problem.includes("WebSocket")), problems.join("\n"));
  } finally {
    await browser.close();
  }
});
