// The page of one room: shows its list, and sends what the user does.
//
// Text from users becomes a text node and never markup.

import { connect, RoomError } from "room-client";
import type { {{crate_name | pascal_case}}, AddError, Item } from "../bindings/room.ts";

// The name in the form that the Worker accepts.
const wanted = new URL(location.href).searchParams.get("room") ?? "";
const name = wanted.toLowerCase().replace(/[^a-z0-9-]+/g, "-").slice(0, 40) || "main";
const list = $("list", HTMLUListElement);
const form = $("form", HTMLFormElement);
const text = $("text", HTMLInputElement);

/** The items in the order of the list. */
const items = new Map<number, { item: Item; node: HTMLLIElement; box: HTMLInputElement }>();

// It reconnects by itself, and goes on where it was: what was sent is handled once, and what was missed is replayed.
const room = connect<{{crate_name | pascal_case}}>({ url: `/ws/${name}` });

room.on("List", (message) => {
  items.clear();
  list.replaceChildren();
  message.items.forEach(show);
  countItems();
});
room.on("Added", ({ item }) => show(item));
room.on("Changed", ({ item }) => show(item));
room.on("Removed", ({ id }) => hide(id));
room.on("People", ({ count }) => {
  $("people").textContent = count === 1 ? "Only you" : `${count} people`;
});
room.onError((error) => notify(error.message));
room.onStatus(showStatus);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const added = text.value;
  text.value = "";
  text.focus();
  notify("");
  try {
    await pending(room.call.add({ text: added }));
  } catch (error) {
    // The text is not lost, unless the user has begun the next one.
    text.value ||= added;
    if (room.isCallError("add", error)) notify(reason(error.error));
    else notify(error instanceof RoomError ? error.message : String(error));
  }
});

$("share", HTMLButtonElement).addEventListener("click", async () => {
  const link = new URL(`/?room=${name}`, location.href).href;
  try {
    await navigator.clipboard.writeText(link);
    notify("The link to this list is copied.");
  } catch {
    // The clipboard needs HTTPS or localhost, and the user's permission.
    notify(link);
  }
});

$("retry", HTMLButtonElement).addEventListener("click", () => room.open());

$("name", HTMLElement).textContent = name;
document.title = name;
showStatus();

function reason(error: AddError): string {
  switch (error.type) {
    case "Empty":
      return "Write something first.";
    case "TooLong":
      return `An item has at most ${error.max} characters.`;
    case "Full":
      return `The list is full: it has ${error.max} items.`;
  }
}

/** Adds an item to the page, or updates it in its place. */
function show(item: Item): void {
  const entry = items.get(item.id) ?? create(item);
  entry.item = item;
  entry.box.checked = item.done;
  entry.node.classList.toggle("done", item.done);
  countItems();
}

function create(item: Item): { item: Item; node: HTMLLIElement; box: HTMLInputElement } {
  const box = document.createElement("input");
  box.type = "checkbox";
  box.addEventListener("change", () => change({ type: "Check", id: item.id, done: box.checked }));
  const words = document.createElement("span");
  words.textContent = item.text;
  words.dir = "auto";
  const label = document.createElement("label");
  label.append(box, words);
  const remove = document.createElement("button");
  remove.type = "button";
  remove.className = "remove";
  remove.textContent = "×";
  remove.ariaLabel = `Remove ${item.text}`;
  remove.addEventListener("click", () => {
    change({ type: "Remove", id: item.id });
    text.focus();
  });
  const node = document.createElement("li");
  node.append(label, remove);
  list.append(node);
  const entry = { item, node, box };
  items.set(item.id, entry);
  return entry;
}

function hide(id: number): void {
  items.get(id)?.node.remove();
  items.delete(id);
  countItems();
}

/** Sends an event. If the room refuses it, the page shows again what the room has. */
async function change(event: {{crate_name | pascal_case}}["event"]): Promise<void> {
  notify("");
  try {
    await pending(room.send(event));
  } catch (error) {
    const entry = items.get(event.id);
    if (entry) show(entry.item);
    notify(error instanceof RoomError ? error.message : String(error));
  }
}

/** Shows the number of changes that wait for the room, until this one has its outcome. */
async function pending<T>(outcome: Promise<T>): Promise<T> {
  showStatus();
  try {
    return await outcome;
  } finally {
    showStatus();
  }
}

function showStatus(): void {
  const waiting = room.pending === 0 ? "" : ` ${room.pending} unsent`;
  $("status").dataset.status = room.status;
  $("status").textContent = {
    idle: "Connecting…",
    connecting: `Connecting…${waiting}`,
    open: "Live",
    reconnecting: `Reconnecting…${waiting}`,
    closed: "Disconnected",
  }[room.status];
  $("people").hidden = room.status !== "open";
  $("retry").hidden = room.status !== "reconnecting" && room.status !== "closed";
}

function countItems(): void {
  const open = [...items.values()].filter(({ item }) => !item.done).length;
  $("count").textContent = items.size === 0 ? "Nothing here yet: add the first item." : `${open} of ${items.size} open`;
}

function notify(message: string): void {
  $("notice").textContent = message;
}

/** Returns an element of the page. Another one, or none, is a mistake in index.html. */
function $<E extends HTMLElement>(id: string, type: new () => E): E;
function $(id: string): HTMLElement;
function $(id: string, type: new () => HTMLElement = HTMLElement): HTMLElement {
  const node = document.getElementById(id);
  if (!(node instanceof type)) throw new TypeError(`#${id} is no ${type.name}`);
  return node;
}
