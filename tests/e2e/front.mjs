import net from "node:net";

/** A TCP relay before the worker: its address stays when the worker restarts, and its network can fail. */
export class Front {
  url;
  #host;
  #server;
  #state = "up";
  #sockets = new Set();

  static async before(host) {
    const front = new Front();
    front.#host = host;
    front.#server = net.createServer((socket) => front.#relay(socket));
    await new Promise((resolve, reject) => {
      front.#server.once("error", reject).listen(0, "127.0.0.1", resolve);
    });
    front.url = `http://127.0.0.1:${front.#server.address().port}`;
    return front;
  }

  /** Breaks every connection and refuses new ones. */
  down() {
    this.#state = "down";
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Breaks some connections: those for whose place in the order of their beginning it is asked. */
  cut(isCut) {
    [...this.#sockets].filter((_, at) => isCut(at)).forEach((socket) => socket.destroy());
  }

  /** Stops forwarding without closing connections: the network of a train in a tunnel. */
  hush() {
    this.#state = "hushed";
    for (const socket of this.#sockets) socket.pause();
  }

  up() {
    this.#state = "up";
    for (const socket of this.#sockets) socket.resume();
  }

  async close() {
    this.down();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #relay(client) {
    if (this.#state === "down") return client.destroy();
    const worker = net.connect(Number(new URL(this.#host.url).port), "127.0.0.1");
    for (const [from, to] of [[client, worker], [worker, client]]) {
      this.#sockets.add(from);
      from.on("data", (bytes) => to.write(bytes));
      from.on("end", () => to.end());
      // `close` follows.
      from.on("error", () => {});
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      if (this.#state === "hushed") from.pause();
    }
  }
}
