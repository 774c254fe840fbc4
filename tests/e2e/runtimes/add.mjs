// Adds to the count of `examples/counter`. It runs in every runtime that has a WebSocket.

import { connect } from "../../../clients/typescript/src/index.ts";

/** Adds one by one until the session was resumed this often, and a little longer. Returns the number of acknowledged events. */
export async function add(url, resumptions) {
  const room = connect({ url, reconnect: { baseMs: 50, maxMs: 500 } });
  let left = resumptions;
  room.onStatus(({ status, resumed }) => {
    if (status === "open" && resumed) left -= 1;
  });
  let acknowledged = 0;
  for (let more = 10; more > 0; more -= left > 0 ? 0 : 1) {
    await room.send({ type: "Add", amount: 1 });
    acknowledged += 1;
  }
  room.close(1000, "done");
  return acknowledged;
}
