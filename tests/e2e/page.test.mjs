// The chat example's page in a real browser with a real worker: its use, its display, and its reaction to a lost
// network or worker. The page speaks `room.v1`, by `room-client`.
//
// Screenshots of the page are left in target/e2e/*.png.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test, { after, afterEach, before } from "node:test";
import { assertAccessible, launchBrowser, problemsIn } from "./browser.mjs";
import { Front } from "./front.mjs";
import { ROOT, startWorker } from "./harness.mjs";

const TIMEOUT = 15_000;
/** A restart of the worker, and the longest back-off of the page. */
const RECONNECT_TIMEOUT = 45_000;
const SHOTS = path.join(ROOT, "target", "e2e");

let host;
let front;
let browser;
let tabs = [];

before(async () => {
  browser = await launchBrowser();
  fs.mkdirSync(SHOTS, { recursive: true });
  host = await startWorker({ dir: "examples/chat", vars: { ADMIN_TOKEN: "dev-admin" } });
  front = await Front.before(host);
});

after(async () => {
  await browser?.close();
  await front?.close();
  await host?.stop();
});

afterEach(async () => {
  const closing = tabs;
  tabs = [];
  front?.up();
  await Promise.all(closing.map((tab) => tab.page.context().close()));
  assert.deepEqual(closing.flatMap((tab) => tab.problems), [], "the browser reported no errors");
});

test("people in a room see each other come, write and leave", async () => {
  const ada = await enter("Ada", "parlour");
  const bob = await enter("Bob", "parlour", { colorScheme: "dark" });
  const eve = await enter("Eve", "elsewhere");
  await ada.notice("Bob joined").waitFor();
  await ada.hasPeople("Ada", "Bob");
  await bob.hasPeople("Bob", "Ada");

  await ada.composer.pressSequentially("Good morning, ");
  await bob.typing("Ada is typing…").waitFor();
  await ada.composer.pressSequentially("Bob");
  await ada.composer.press("Shift+Enter");
  await ada.composer.pressSequentially("how are you?");
  await ada.composer.press("Enter");
  await bob.message("Good morning, Bob\nhow are you?").waitFor();
  await bob.typing("Ada").waitFor({ state: "detached" });
  assert.equal(await ada.composer.inputValue(), "");

  await bob.composer.fill("Very well, thank you");
  await ada.typing("Bob is typing…").waitFor();
  await bob.send.click();
  for (const tab of [ada, bob]) await tab.message("Very well, thank you").waitFor();

  // The room sends the same order to every tab: once the answer is shown, a second copy of the question would be too.
  for (const tab of [ada, bob]) {
    assert.deepEqual(await tab.conversation(), [
      ["Ada", "Good morning, Bob\nhow are you?"],
      ["Bob", "Very well, thank you"],
    ]);
  }
  assert.equal(await ada.page.locator(".message.own").count(), 1, "Ada's own message looks different from Bob's");

  await eve.say("Is anybody here?");
  assert.deepEqual(await eve.conversation(), [["Eve", "Is anybody here?"]], "another room hears nothing");
  await eve.hasPeople("Eve");

  await ada.shoot("page-conversation-light");
  await bob.shoot("page-conversation-dark");

  await bob.page.getByTestId("leave").click();
  await bob.page.getByText("You left #parlour.").waitFor();
  await ada.notice("Bob left").waitFor();
  await ada.hasPeople("Ada");
});

test("the typing indicator vanishes when nothing follows", async () => {
  const ada = await enter("Ada", "typing");
  const bob = await enter("Bob", "typing", { clock: true });
  await ada.notice("Bob joined").waitFor();
  await ada.composer.pressSequentially("I was about to say");
  await bob.typing("Ada is typing…").waitFor();
  await bob.page.clock.fastForward(3_000);
  await bob.typing("Ada").waitFor({ state: "detached" });
});

test("a user stays while one of the user's tabs closes", async () => {
  const bob = await enter("Bob", "two-tabs");
  const first = await enter("Ada", "two-tabs");
  const second = await enter("Ada", "two-tabs", { beside: first });
  await bob.hasPeople("Bob", "Ada");

  const asked = bob.page.waitForResponse(/\/peers$/);
  await second.page.getByTestId("leave").click();
  await (await asked).finished();
  await first.say("I am still here");
  await bob.message("I am still here").waitFor();
  await bob.hasPeople("Bob", "Ada");

  await first.page.getByTestId("leave").click();
  await bob.hasPeople("Bob");
  assert.equal(await bob.notice("Ada joined").count(), 1);
  assert.equal(await bob.notice("Ada left").count(), 1);
});

test("what people write stays text", async () => {
  const name = "<i>Mallory</i>";
  const text = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;
  const ada = await enter("Ada", "hostile");
  const mallory = await enter(name, "hostile");
  await ada.notice(`${name} joined`).waitFor();
  await mallory.composer.pressSequentially("<");
  await ada.typing(`${name} is typing…`).waitFor();
  await mallory.say(text);
  await ada.message(text).waitFor();
  assert.deepEqual(await ada.conversation(), [[name, text]]);
  await ada.hasPeople("Ada", name);
  for (const tab of [ada, mallory]) {
    assert.equal(await tab.page.locator("#room-screen :is(img, script, i)").count(), 0);
  }
});

test("the page reconnects after a restart of the worker", async (t) => {
  const ada = await enter("Ada", "restart");
  const bob = await enter("Bob", "restart");
  await ada.say("before");
  await bob.message("before").waitFor();

  let gone = true;
  await host.kill();
  // The other tests need the worker, even if this one fails.
  t.after(() => gone && host.restart());
  for (const tab of [ada, bob]) await tab.notice("Connection lost. Reconnecting…").first().waitFor();
  await ada.composer.fill("written meanwhile");
  await ada.composer.press("Enter");
  await ada.page.getByText("What you write is kept.").waitFor();
  assert.equal(await ada.composer.inputValue(), "written meanwhile");
  assert.ok(await ada.send.isDisabled());
  await ada.shoot("page-reconnecting");

  await host.restart();
  gone = false;
  for (const tab of [ada, bob]) {
    // On a busy machine the first connection to the new worker may be lost again.
    await tab.notice("Connection restored.").first().waitFor({ timeout: RECONNECT_TIMEOUT });
    await tab.is("live");
    await tab.hasPeople("Ada", "Bob");
  }
  await ada.composer.press("Enter");
  await bob.message("written meanwhile").waitFor();
  await bob.say("after");
  await ada.message("after").waitFor();
  const expected = [["Ada", "before"], ["Ada", "written meanwhile"], ["Bob", "after"]];
  for (const tab of [ada, bob]) assert.deepEqual(await tab.conversation(), expected);
});

test("offline, the draft is kept; online, the page reconnects at once", async () => {
  const ada = await enter("Ada", "offline", { clock: true });
  await ada.page.context().setOffline(true);
  front.down();
  await ada.is("offline");
  await ada.composer.fill("from the tunnel");
  assert.ok(await ada.send.isDisabled());
  await ada.page.getByText("You are offline. What you write is kept.").waitFor();
  await ada.shoot("page-offline");

  // With a stopped clock the page has no timer: only the event can make it reconnect.
  await ada.page.clock.pauseAt(Date.now() + 60_000);
  front.up();
  await ada.page.context().setOffline(false);
  await ada.is("live");
  await ada.page.clock.resume();
  await ada.composer.press("Enter");
  await ada.message("from the tunnel").waitFor();
});

test("an idle connection stays open", async () => {
  const ada = await enter("Ada", "quiet", { clock: true });
  for (let n = 1; n <= 3; n += 1) {
    const answered = pong(ada.socket);
    await ada.page.clock.fastForward(25_000);
    await answered;
  }
  await ada.page.clock.fastForward(10_000);
  await ada.say("still here");
  assert.equal(await ada.notice("Connection").count(), 0);
});

test("a connection that only looks open is replaced", async () => {
  const ada = await enter("Ada", "silent", { clock: true });
  // Bob's own connection does not share Ada's network.
  const bob = await enter("Bob", "silent", { at: host.url });
  await ada.notice("Bob joined").waitFor();

  front.hush();
  await ada.composer.fill("does this arrive?");
  await ada.composer.press("Enter");
  // First to the next ping, then to the end of the wait for its reply.
  await ada.page.clock.fastForward(25_000);
  await ada.page.clock.fastForward(10_000);
  await ada.notice("Connection lost. Reconnecting…").waitFor();
  // The page cannot know if the message arrived, so it says so, and sends it again.
  await ada.pending("does this arrive?").getByText("Not delivered yet.").waitFor();
  await ada.shoot("page-pending");
  // The data that the network still held is lost.
  front.down();
  front.up();
  await ada.notice("Connection restored.").waitFor();
  await ada.message("does this arrive?").waitFor();
  await ada.pending("does this arrive?").waitFor({ state: "detached" });

  await ada.say("now it does");
  await bob.message("now it does").waitFor();
  const expected = [["Ada", "does this arrive?"], ["Ada", "now it does"]];
  for (const tab of [ada, bob]) assert.deepEqual(await tab.conversation(), expected);
});

test("messages that are sent while the network is down arrive exactly once", async () => {
  const ada = await enter("Ada", "tunnel");
  await ada.say("before");
  // Bob's own connection does not share Ada's network.
  const bob = await enter("Bob", "tunnel", { at: host.url });

  // The page does not see yet that the network is gone: it sends, and nothing arrives.
  front.hush();
  for (const text of ["one", "two", "three"]) {
    await ada.composer.fill(text);
    await ada.composer.press("Enter");
    await ada.pending(text).waitFor();
  }
  assert.equal(await ada.page.getByText("Not delivered yet.").filter({ visible: true }).count(), 0);
  front.down();
  await ada.notice("Connection lost. Reconnecting…").waitFor();
  for (const text of ["one", "two", "three"]) await ada.pending(text).getByText("Not delivered yet.").waitFor();
  assert.deepEqual(await bob.conversation(), [["Ada", "before"]]);

  front.up();
  await bob.message("three").waitFor();
  await ada.message("three").waitFor();
  await ada.page.getByTestId("pending").waitFor({ state: "detached" });
  await ada.say("after");
  await bob.message("after").waitFor();
  const expected = ["one", "two", "three", "after"].map((text) => ["Ada", text]);
  for (const tab of [ada, bob]) assert.deepEqual(await tab.conversation(), [["Ada", "before"], ...expected]);
});

test("a message whose answer is lost with the connection arrives exactly once, and its author sees it", async () => {
  const lost = { message: "", attempts: 0 };
  const ada = await enter("Ada", "answer", {
    route: (socket) => {
      lost.attempts += 1;
      const server = socket.connectToServer();
      server.onMessage((frame) => {
        if (lost.attempts > 1 || !frame.includes('"Message"')) return socket.send(frame);
        lost.message = frame;
        socket.close({ code: 1011, reason: "the network failed" });
      });
    },
  });
  const bob = await enter("Bob", "answer");
  await ada.composer.fill("heard?");
  await ada.composer.press("Enter");
  await bob.message("heard?").waitFor();
  await ada.notice("Connection restored.").waitFor();
  await ada.message("heard?").waitFor();
  await ada.page.getByTestId("pending").waitFor({ state: "detached" });
  await ada.say("it is");
  await bob.message("it is").waitFor();
  for (const tab of [ada, bob]) assert.deepEqual(await tab.conversation(), [["Ada", "heard?"], ["Ada", "it is"]]);
  assert.match(lost.message, /"heard\?"/);
  assert.equal(lost.attempts, 2);
});

test("a message that the room refuses is shown as failed, with the room's reason", async () => {
  let isBroken = true;
  const sent = [];
  const ada = await enter("Ada", "refused", {
    route: (socket) => {
      const server = socket.connectToServer();
      // The room itself refuses an event that it does not have.
      socket.onMessage((frame) => {
        sent.push(frame);
        server.send(isBroken ? frame.replace('"Say"', '"Shout"') : frame);
      });
    },
  });
  await ada.composer.fill("listen to me");
  await ada.composer.press("Enter");
  await ada.failed("listen to me").getByText(/^Not sent: .*unknown variant `Shout`/).waitFor();
  assert.equal(await ada.page.getByTestId("pending").count(), 0);
  assert.deepEqual(await ada.conversation(), []);
  assert.deepEqual(sent.filter((frame) => frame.startsWith("[")).map((frame) => JSON.parse(frame)), [
    [0, { type: "Typing" }],
    [1, { type: "Say", text: "listen to me" }],
  ]);
  await ada.shoot("page-refused");
  await ada.page.setViewportSize({ width: 360, height: 740 });
  assert.equal(await ada.page.evaluate(() => document.documentElement.scrollWidth), 360);
  await ada.shoot("page-phone-refused");

  isBroken = false;
  await ada.failed("listen to me").getByRole("button", { name: "Send again" }).click();
  await ada.message("listen to me").waitFor();
  assert.equal(await ada.page.getByTestId("failed").count(), 0);

  isBroken = true;
  await ada.composer.fill("never mind");
  await ada.composer.press("Enter");
  await ada.failed("never mind").getByRole("button", { name: "Discard" }).click();
  assert.equal(await ada.page.getByTestId("failed").count(), 0);
  assert.deepEqual(await ada.conversation(), [["Ada", "listen to me"]]);
});

test("a message beyond a rate limit is shown as failed, with the time to wait", async () => {
  const ada = await enter("Ada", "hasty", {
    route: (socket) => {
      const server = socket.connectToServer();
      // The room's own limit is high, so the test answers in its place.
      socket.onMessage((frame) => {
        if (!frame.startsWith("[1,")) return server.send(frame);
        const error = { n: 1, code: "rate_limited", message: "slow down", retry_after_ms: 2_500 };
        socket.send(JSON.stringify([[{ error }]]));
      });
    },
  });
  await ada.composer.fill("too fast");
  await ada.composer.press("Enter");
  await ada.failed("too fast").getByText("Not sent: slow down. Try again in 3 seconds.").waitFor();
});

test("after a gap the page shows who is present and what was said", async () => {
  const ada = await enter("Ada", "gap");
  const bob = await enter("Bob", "gap", { at: host.url });
  await ada.hasPeople("Ada", "Bob");
  front.down();
  await ada.notice("Connection lost. Reconnecting…").waitFor();
  const eve = await enter("Eve", "gap", { at: host.url });
  await bob.page.getByTestId("leave").click();
  await eve.hasPeople("Eve");
  await eve.say("Ada reads this later");
  front.up();
  await ada.notice("Connection restored.").waitFor();
  await ada.hasPeople("Ada", "Eve");
  await eve.say("Ada hears this");
  await ada.message("Ada hears this").waitFor();
  assert.deepEqual(await ada.conversation(), [["Eve", "Ada reads this later"], ["Eve", "Ada hears this"]]);
});

/** Says something on a plain connection, `count` times. */
async function talk(room, count) {
  const client = await host.ws(`/ws/chat/${room}?userId=talker`);
  for (let n = 1; n <= count; n += 1) client.send({ type: "Say", text: `number ${n}` });
  await client.next({ where: ({ text }) => text === `number ${count}` });
  await client.close(1000);
}

test("a user who joins reads the last messages", async () => {
  await talk("history", 99);
  const ada = await enter("Ada", "history");
  await ada.say("I have read it all");
  const told = Array.from({ length: 99 }, (_, n) => ["talker", `number ${n + 1}`]);
  assert.deepEqual(await ada.conversation(), [...told, ["Ada", "I have read it all"]]);
  assert.ok(await ada.page.getByText("Earlier messages are not shown").isHidden());
  await ada.shoot("page-history");

  // The second visitor gets the last hundred, and the first one keeps all.
  await talk("history", 3);
  const bob = await enter("Bob", "history");
  await bob.message("number 3").last().waitFor();
  assert.equal((await bob.conversation()).length, 100);
  await bob.page.getByText("Earlier messages are not shown").waitFor();
  assert.equal((await ada.conversation()).length, 103);
});

test("messages that the history does not reach are reported", async () => {
  const ada = await enter("Ada", "long-gap");
  await ada.say("before");
  front.down();
  await ada.notice("Connection lost. Reconnecting…").waitFor();
  await talk("long-gap", 100);
  front.up();
  await ada.message("number 100").waitFor();
  await ada.notice("Some messages are missing here.").waitFor();
  const told = Array.from({ length: 100 }, (_, n) => ["talker", `number ${n + 1}`]);
  assert.deepEqual(await ada.conversation(), [["Ada", "before"], ...told]);
});

test("a name that somebody else has is refused on the join screen", async () => {
  const ada = await enter("Ada", "names");
  const other = await open("/?room=names&name=Ada");
  await other.page.getByTestId("join").click();
  await other.page.getByText("The room has refused you: this name is taken.").waitFor();
  const name = other.page.getByTestId("name-input");
  assert.ok(await name.evaluate((field) => field === document.activeElement));
  await other.shoot("page-name-taken");
  await name.fill("Ida");
  await name.press("Enter");
  await other.is("live");
  await ada.notice("Ida joined").waitFor();
  await ada.hasPeople("Ada", "Ida");
  assert.equal(await ada.notice("Ada").count(), 0, "the refused user is not announced");
});

for (const [device, options] of Object.entries({
  desktop: { viewport: { width: 1_280, height: 800 } },
  phone: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
})) {
  for (const colorScheme of ["light", "dark"]) {
    test(`everyone can read and use the page: ${device}, ${colorScheme}`, async () => {
      const room = `access-${device}-${colorScheme}`;
      await talk(room, 3);
      const join = await open(`/?room=${room}`, { ...options, colorScheme });
      await join.isAccessible();
      await join.page.getByTestId("join").click();
      await join.page.getByText("Enter a name.").waitFor();
      await join.isAccessible();

      const ada = await enter("Ada", room, { ...options, colorScheme });
      const bob = await enter("Bob", room, { at: host.url });
      await bob.composer.fill("Hello");
      await ada.typing("Bob is typing…").waitFor();
      await ada.isAccessible();
      await bob.say("Hello");
      await ada.say("Hello yourself");
      await host.fetch(`/api/chat/${room}/say`, {
        method: "POST", headers: { authorization: "Bearer dev-admin" }, body: JSON.stringify({ text: "The room closes at ten." }),
      });
      await ada.message("The room closes at ten.").waitFor();
      await ada.isAccessible();
      await ada.shoot(`page-${device}-${colorScheme}`);
      front.down();
      await ada.notice("Connection lost. Reconnecting…").waitFor();
      await ada.page.getByText("What you write is kept.").waitFor();
      await ada.isAccessible();
      await ada.shoot(`page-${device}-${colorScheme}-reconnecting`);
      front.up();
      await ada.notice("Connection restored.").waitFor();
    });
  }
}

test("the page can be used with the keyboard alone", async () => {
  const { page } = await open("/?room=keys");
  await page.keyboard.type("Ada");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.locator("[data-testid=status][data-state=live]").waitFor();
  await page.keyboard.type("Without a mouse");
  await page.keyboard.press("Enter");
  await page.locator(".text").getByText("Without a mouse", { exact: true }).waitFor();
  // Backwards from the composer: the conversation, then the buttons of the bar.
  for (const expected of ["Conversation", "Leave"]) {
    await page.keyboard.press("Shift+Tab");
    const focused = await page.evaluate(() => {
      const node = document.activeElement;
      return node?.ariaLabel ?? node?.textContent?.trim();
    });
    assert.equal(focused, expected);
  }
  await page.keyboard.press("Enter");
  await page.getByText("You left #keys.").waitFor();
});

test("the reader can connect at once in place of waiting for the next attempt", async () => {
  const ada = await enter("Ada", "impatient", { clock: true });
  front.down();
  await ada.notice("Connection lost. Reconnecting…").waitFor();
  await ada.page.clock.pauseAt(Date.now() + 60_000);
  const again = ada.page.getByRole("button", { name: "Try now" });
  // With a stopped clock the page has no timer: only the button can make it connect.
  await again.waitFor();
  front.up();
  await again.click();
  await ada.is("live");
});

test("when the room closes the connection, the page says why and stays away", async () => {
  let attempts = 0;
  let close;
  const ada = await enter("Ada", "closed", {
    clock: true,
    route: (socket) => {
      attempts += 1;
      socket.connectToServer();
      close = () => socket.close({ code: 4003, reason: "not here, please" });
    },
  });
  await close();
  await ada.is("closed");
  await ada.notice("The room closed the connection: not here, please (4003)").waitFor();
  await ada.page.clock.fastForward(120_000);
  assert.equal(attempts, 1);
  await ada.is("closed");
  await ada.page.getByRole("button", { name: "Join again" }).click();
  await ada.is("live");
  assert.equal(attempts, 2);
});

test("messages of the operator and of the runtime are shown", async () => {
  let toPage;
  let toRoom;
  const ada = await enter("Ada", "operator", {
    route: (socket) => {
      const server = socket.connectToServer();
      toPage = (frame) => socket.send(frame);
      toRoom = (frame) => server.send(frame);
    },
  });
  toPage(JSON.stringify([[], { type: "Message", user_id: "system", text: "We restart at noon.", sent_at: Date.now() }]));
  await ada.page.locator(".message.operator", { hasText: "We restart at noon." }).waitFor();
  toPage("[]");
  toPage("no JSON");
  // The real runtime replies with an error frame.
  toRoom("{");
  await ada.notice("The room: ").waitFor();
  await ada.say("fine otherwise");
});

test("the join screen is filled in and checked", async () => {
  const { page, problems } = await open("/?room=caf%C3%A9&name=Zo%C3%AB");
  const name = page.getByTestId("name-input");
  const room = page.getByTestId("room-input");
  const join = page.getByTestId("join");
  assert.deepEqual([await name.inputValue(), await room.inputValue()], ["Zoë", "café"]);
  await page.screenshot({ path: path.join(SHOTS, "page-join.png") });

  await name.fill("  ");
  await room.fill("../etc");
  await join.click();
  await page.getByText("Enter a name.").waitFor();
  await page.getByText("Use letters, digits").waitFor();
  assert.ok(await name.evaluate((field) => field === document.activeElement), "the first wrong field has the focus");
  await name.fill("System");
  await room.fill("#café");
  await join.click();
  await page.getByText("This name is the operator's.").waitFor();
  await name.fill("Zoë");
  await name.press("Enter");
  await page.locator("[data-testid=status][data-state=live]").waitFor();
  await page.getByRole("heading", { name: "café" }).waitFor();

  // The page stores the name; the address contains the room.
  await page.reload();
  assert.deepEqual([await name.inputValue(), await room.inputValue()], ["Zoë", "café"]);
  await page.goto(`${front.url}/#garden`);
  await page.reload();
  assert.equal(await room.inputValue(), "garden");
  await page.goto(front.url);
  assert.equal(await room.inputValue(), "lobby");
  assert.deepEqual(problems, []);
});

test("long texts are counted, and too long ones not sent", async () => {
  const ada = await enter("Ada", "long");
  await ada.composer.fill("ä".repeat(3_990));
  await ada.page.getByText("10 characters left").waitFor();
  await ada.composer.fill("🙂".repeat(4_001));
  await ada.page.getByText("1 character too many").waitFor();
  assert.ok(await ada.send.isDisabled());
  const longest = "🙂".repeat(4_000);
  await ada.composer.fill(longest);
  await ada.composer.press("Enter");
  await ada.page.locator("[data-testid=message]").waitFor();
  assert.deepEqual(await ada.conversation(), [["Ada", longest]]);
});

test("a reader who scrolled up is not torn away", async () => {
  const ada = await enter("Ada", "scroll");
  const bob = await enter("Bob", "scroll");
  for (let n = 1; n <= 30; n += 1) await bob.say(`line ${n}`);
  await ada.message("line 30").waitFor();
  const scroller = ada.page.locator("#scroller");
  const toEnd = () => scroller.evaluate((node) => node.scrollHeight - node.clientHeight - node.scrollTop);
  assert.ok(await toEnd() < 2, "a reader at the end follows");

  await scroller.evaluate((node) => (node.scrollTop = 0));
  await bob.say("news");
  await ada.page.getByRole("button", { name: "1 new message" }).waitFor();
  assert.equal(await scroller.evaluate((node) => node.scrollTop), 0);
  await ada.page.getByRole("button", { name: "1 new message" }).click();
  await ada.page.getByRole("button", { name: "1 new message" }).waitFor({ state: "hidden" });
  assert.ok(await toEnd() < 2);
});

test("the page fits a phone", async () => {
  const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true };
  const ada = await enter("Ada", "a-room-with-quite-a-long-name-for-such-a-small-screen", phone);
  const bob = await enter("Bartholomew with a rather long 1", "a-room-with-quite-a-long-name-for-such-a-small-screen");
  const address = `https://example.org/${"long/".repeat(40)}`;
  await bob.say(address);
  await ada.message(address).waitFor();
  await ada.say("It fits.");
  assert.equal(await ada.page.evaluate(() => document.documentElement.scrollWidth), 360);
  await ada.shoot("page-phone");

  await ada.person("Ada").waitFor({ state: "hidden" });
  await ada.page.getByRole("button", { name: "People here" }).tap();
  await ada.person("Ada").waitFor();
  await ada.hasPeople("Ada", "Bartholomew with a rather long 1");
  await ada.shoot("page-phone-people");
  await ada.page.keyboard.press("Escape");
  await ada.person("Ada").waitFor({ state: "hidden" });
});

// People

/**
 * Opens a separate browser on the join screen, or a tab `beside` another one. `clock` lets the test control the page's
 * time, `route` its WebSockets.
 */
async function open(address, { clock = false, route, at = front.url, beside, ...options } = {}) {
  const context = beside?.page.context() ?? await browser.newContext({
    viewport: { width: 1_100, height: 760 },
    locale: "en-GB",
    reducedMotion: "reduce",
    ...options,
  });
  context.setDefaultTimeout(TIMEOUT);
  const page = await context.newPage();
  const problems = problemsIn(page);
  if (clock) await page.clock.install();
  if (route) await page.routeWebSocket(/\/ws\/chat\//, route);
  const tab = new Tab(page, problems);
  tabs.push(tab);
  await page.goto(at + address);
  return tab;
}

/** Opens a separate browser window in the room. */
async function enter(name, room, options) {
  const tab = await open("/", options);
  await tab.page.getByTestId("name-input").fill(name);
  await tab.page.getByTestId("room-input").fill(room);
  const people = tab.page.waitForResponse(/\/peers$/);
  await tab.page.getByTestId("join").click();
  await tab.is("live");
  // People who join later are then announced, not only listed.
  await (await people).finished();
  await tab.person(name).waitFor({ state: "attached" });
  return tab;
}

const pong = (socket) => socket.waitForEvent("framereceived", ({ payload }) => payload === "pong");

class Tab {
  /** The page's latest WebSocket. */
  socket;

  constructor(page, problems) {
    this.page = page;
    this.problems = problems;
    page.on("websocket", (socket) => (this.socket = socket));
    this.composer = page.getByTestId("composer");
    this.send = page.getByTestId("send");
  }

  is(state) {
    return this.page.locator(`[data-testid=status][data-state=${state}]`).waitFor();
  }

  notice(text) {
    return this.page.getByTestId("notice").filter({ hasText: text });
  }

  message(text) {
    const exactly = this.page.locator(".text").getByText(text, { exact: true });
    return this.page.getByTestId("message").filter({ has: exactly });
  }

  /** A message that the room has not acknowledged. */
  pending(text) {
    return this.page.getByTestId("pending").filter({ hasText: text });
  }

  /** A message that the room refused. */
  failed(text) {
    return this.page.getByTestId("failed").filter({ hasText: text });
  }

  typing(text) {
    return this.page.getByTestId("typing").filter({ hasText: text });
  }

  person(name) {
    return this.page.getByTestId("person").filter({ hasText: name });
  }

  /** Waits until exactly these people are listed, each once. */
  hasPeople(...names) {
    return this.page.waitForFunction((names) => {
      const listed = [...document.querySelectorAll("[data-testid=people] [data-testid=person]")];
      return listed.map((node) => node.dataset.name).sort().join("\n") === names.sort().join("\n");
    }, names);
  }

  /** Says the text and waits for the room's echo. */
  async say(text) {
    await this.composer.fill(text);
    await this.composer.press("Enter");
    await this.message(text).waitFor();
  }

  /** Every message in the log as [author, text]. */
  conversation() {
    return this.page.getByTestId("message").evaluateAll((nodes) =>
      nodes.map((node) => [node.dataset.author, node.querySelector(".text").textContent]));
  }

  isAccessible(state) {
    return assertAccessible(this.page, state);
  }

  shoot(name) {
    return this.page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
  }
}

// The network
