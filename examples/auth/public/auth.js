// Signs in, and connects with the token. A page can set no header of a WebSocket, so the token is a subprotocol.

const login = document.querySelector("#login");
const say = document.querySelector("#say");
const status = document.querySelector("#status");
const messages = document.querySelector("#messages");

let socket;

login.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { user, room } = Object.fromEntries(new FormData(login));
  const response = await fetch("/login", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user, room }),
  });
  if (!response.ok) {
    status.textContent = await response.text();
    return;
  }
  const { token } = await response.json();
  connect(room, token);
});

function connect(room, token) {
  socket?.close(1000);
  const url = new URL(`/ws/${room}`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const connecting = new WebSocket(url, ["bearer", token]);
  socket = connecting;
  connecting.addEventListener("open", () => {
    status.textContent = `connected with ${connecting.protocol}`;
    say.hidden = false;
  });
  connecting.addEventListener("message", ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "Joined") show(`${message.user} joined`);
    if (message.type === "Said") show(`${message.user}: ${message.text}`);
  });
  connecting.addEventListener("close", ({ code, reason }) => {
    if (socket !== connecting) return;
    // A page does not see the response of a refused upgrade: the code is 1006.
    status.textContent = code === 1000 ? "signed out" : `disconnected: ${code} ${reason}`.trim();
    say.hidden = true;
  });
}

say.addEventListener("submit", (event) => {
  event.preventDefault();
  socket.send(JSON.stringify({ type: "Say", text: say.elements.text.value }));
  say.reset();
});

function show(text) {
  const item = document.createElement("li");
  item.textContent = text;
  messages.append(item);
}
