// Custom routes, over the wire: the poll and its archive behind axum (examples/axum) and behind `worker::Router`
// (tests/e2e/rooms).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { UpgradeRefused, startWorker } from "./harness.mjs";

const json = { "content-type": "application/json" };

for (const [router, dir] of [["axum", "examples/axum"], ["worker::Router", "tests/e2e/rooms"]]) {
  describe(router, () => {
    let host;

    before(async () => {
      host = await startWorker({ dir });
    });

    after(() => host?.stop());

    function vote(poll, choice) {
      return host.fetch(`/polls/${poll}/votes`, { method: "POST", headers: json, body: JSON.stringify({ choice }) });
    }

    function votes(votes) {
      return { type: "Votes", votes };
    }

    test("a WebSocket opens through the router, and frames go both ways until its close", async () => {
      const alice = await host.ws("/polls/lunch/ws?voter=alice");
      assert.deepEqual(await alice.next(), votes({}));
      alice.send({ type: "Vote", choice: "soup" });
      assert.deepEqual(await alice.next(), votes({ soup: 1 }));
      assert.equal((await vote("lunch", "rice")).status, 204);
      assert.deepEqual(await alice.next(), votes({ rice: 1, soup: 1 }));
      assert.deepEqual(await alice.close(4000, "bye"), { code: 4000, reason: "bye" });

      const response = await host.fetch("/polls/lunch");
      assert.equal(response.headers.get("content-type"), "application/json");
      assert.deepEqual(await response.json(), { votes: { rice: 1, soup: 1 }, is_closed: false });
    });

    test("the 101 has the room's subprotocol and the header that the Worker adds", async () => {
      const bob = await host.ws("/polls/protocol/ws?voter=bob", { protocols: ["room.v1"] });
      assert.equal(bob.raw.protocol, "room.v1");
      const upgraded = await new Promise((resolve, reject) => {
        const url = new URL("/polls/protocol/ws?voter=carol", host.url.replace("http", "ws"));
        const carol = new WebSocket(url, { perMessageDeflate: false });
        carol.once("upgrade", (response) => {
          resolve(response);
          carol.terminate();
        });
        carol.once("error", reject);
      });
      assert.equal(upgraded.statusCode, 101);
      assert.equal(upgraded.headers["cache-control"], "no-store");
      await assert.rejects(host.ws("/polls/protocol/ws?voter=bob", { protocols: ["other"] }), (error) => {
        assert.ok(error instanceof UpgradeRefused);
        assert.equal(error.status, 400);
        assert.match(error.body, /`other`/);
        return true;
      });
    });

    test("a request that is no upgrade is answered by the room's client", async () => {
      const response = await host.fetch("/polls/lunch/ws?voter=alice");
      assert.equal(response.status, 426);
      assert.match(await response.text(), /WebSocket/);
    });

    test("an error of a room is a response with its status", async () => {
      assert.equal((await host.fetch("/polls/over/close", { method: "POST" })).status, 204);
      const late = await vote("over", "soup");
      assert.equal(late.status, 409);
      assert.deepEqual(await late.json(), { error: { code: "refused", message: "the poll is closed" } });
      assert.equal(late.headers.get("cache-control"), "no-store");

      const long = await host.fetch(`/polls/${"x".repeat(1025)}`);
      assert.equal(long.status, 400);
      assert.equal((await long.json()).error.code, "invalid_room_id");

      await assert.rejects(host.ws(`/polls/lunch/ws?voter=${"x".repeat(256)}`), (error) => {
        assert.ok(error instanceof UpgradeRefused);
        assert.equal(error.status, 400);
        assert.equal(JSON.parse(error.body).error.code, "invalid_peer_id");
        return true;
      });
    });

    test("an invalid vote is refused with the path of its field, and the figures of the poll count it", async () => {
      const alice = await host.ws("/polls/strict/ws?voter=alice");
      assert.deepEqual(await alice.next(), votes({}));
      alice.send({ type: "Vote", choice: "" });
      const { $room: { error } } = await alice.next();
      assert.equal(error.code, "invalid");
      assert.deepEqual(error.violations, [{ path: "choice", message: "length is lower than 1" }]);

      const long = await vote("strict", "x".repeat(101));
      assert.equal(long.status, 422);
      assert.match((await long.json()).error.message, /`choice`: length is greater than 100/);

      const { peers, frames_in, refused } = await (await host.fetch("/polls/strict/stats")).json();
      assert.deepEqual({ peers, frames_in, refused }, { peers: 1, frames_in: 1, refused: { invalid: 1 } });
    });

    test("a poll that is closed reaches the archive, and the watchers of its outcome", async () => {
      const alice = await host.ws("/archive/ws");
      alice.send({ type: "Watch", outcome: "Tie" });
      assert.deepEqual(await alice.next(), { type: "Results", results: [] });

      const results = [
        { poll: "clear", outcome: "Winner", votes: 1 },
        { poll: "tied 🦀", outcome: "Tie", votes: 2 },
      ];
      const bob = await host.ws("/archive/ws");
      bob.send({ type: "Watch", outcome: "Winner" });
      assert.deepEqual(await bob.next(), { type: "Results", results: [] });
      for (const [poll, ...choices] of [["clear", "tea"], ["tied 🦀", "tea", "coffee"]]) {
        for (const choice of choices) await vote(encodeURIComponent(poll), choice);
        assert.equal((await host.fetch(`/polls/${encodeURIComponent(poll)}/close`, { method: "POST" })).status, 204);
        const watcher = poll === "clear" ? bob : alice;
        const result = results.find((result) => result.poll === poll);
        assert.deepEqual(await watcher.next(), { type: "Stored", result });
      }

      const archive = await host.fetch("/archive");
      assert.equal(archive.headers.get("cache-control"), "no-store");
      const stored = (await archive.json()).filter(({ poll }) => results.some((result) => result.poll === poll));
      assert.deepEqual(stored, results.toReversed());
      const choices = await (await host.fetch("/archive/choices")).json();
      assert.deepEqual(choices, [{ choice: "tea", votes: 2 }, { choice: "coffee", votes: 1 }]);

      // The results of each poll stay, and a new watcher gets them, after a crash of the process.
      await host.kill();
      await host.restart();
      const carol = await host.ws("/archive/ws");
      carol.send({ type: "Watch", outcome: "Tie" });
      assert.deepEqual(await carol.next(), { type: "Results", results: results.slice(1) });
    });

    test("a route of the room gets the request, and its response arrives unchanged", async () => {
      for (const choice of ["soup", "rice", "soup"]) await vote("csv", choice);
      const results = await host.fetch("/polls/csv/room/results.csv?x=1", { method: "POST", body: "a body" });
      assert.equal(results.status, 200);
      assert.equal(results.headers.get("content-type"), "text/csv; charset=utf-8");
      assert.equal(await results.text(), "rice,1\nsoup,2\n");
      const other = await host.fetch("/polls/csv/room/other");
      assert.equal(other.status, 404);
      assert.equal((await other.json()).error.message, "a poll has no such file");
    });

    test("an id is decoded once", async () => {
      assert.equal((await vote("a%2520b%20%F0%9F%A6%80", "soup")).status, 204);
      const totals = await host.fetch(`/totals?polls=${encodeURIComponent("a%20b 🦀,,new")}`);
      assert.deepEqual(await totals.json(), { "": null, "a%20b 🦀": 1, "new": 0 });
    });

    test("a request without a route is refused", async () => {
      assert.equal((await host.fetch("/polls/lunch/votes")).status, 405);
      assert.equal((await host.fetch("/elsewhere")).status, 404);
      const bad = await host.fetch("/polls/lunch/votes", { method: "POST", headers: json, body: '{"choice":1}' });
      assert.equal(bad.status, 422);
    });
  });
}
