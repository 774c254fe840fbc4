// Clients that add entries to the room `ledger` and record what they hear. It runs in Node.js and in a browser.

/**
 * Starts clients. `connect` is that of the TypeScript client, and `report` is called after each acknowledgement.
 *
 * `end` of the result ends them, and resolves to what they know.
 */
export function play(connect, { url, count, WebSocket }, report) {
  const reconnect = { baseMs: 50, maxMs: 500 };
  const rooms = Array.from({ length: count }, () => connect({ url, reconnect, ...(WebSocket && { WebSocket }) }));
  const known = rooms.map(() => ({ sent: [], called: [], heard: [], gaps: 0 }));
  let isOver = false;
  const playing = rooms.map(async (room, at) => {
    const { sent, called, heard } = known[at];
    room.on("Added", ({ index, entry }) => heard.push([index, entry]));
    room.onGap(() => (known[at].gaps += 1));
    for (let n = 0; !isOver; n += 1) {
      const entry = `${at}-${n}`;
      if (n % 2 === 0) {
        await room.send({ type: "Add", entry });
        sent.push(entry);
      } else {
        called.push([await room.call.add({ entry }), entry]);
      }
      report();
    }
  });
  // A client that fails must not be noticed only at the end.
  const failed = Promise.all(playing).then(() => new Promise(() => {}));
  failed.catch(() => {});
  const close = () => rooms.forEach((room) => room.close());
  const end = async () => {
    isOver = true;
    await Promise.all(playing);
    const entries = await rooms[0].call.entries();
    // Each message of the room arrives, also those after the last acknowledgement.
    while (known.some(({ heard }) => heard.at(-1)?.[0] !== entries.length - 1)) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    close();
    return { entries, known };
  };
  return { end, failed, close };
}
