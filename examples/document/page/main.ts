// The page: a landing page at `/`, and the editor of a document at `/d/NAME`.
//
//   main    the landing page, and the frame of a document
//   editor  CodeMirror, bound to the text and to the cursors of the others
//   users   names and colours, and what is accepted of those of others
//
// The provider is that of y-websocket, unchanged, as in any application of Yjs. Text from users becomes a text node and never markup.

import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";
import { createEditor } from "./editor.ts";
import { checked, ownUser, present, saveName, type User } from "./users.ts";

function $<E extends HTMLElement = HTMLElement>(id: string): E {
  const node = document.getElementById(id);
  if (node === null) throw new TypeError(`there is no #${id}`);
  return node as E;
}

const TEXT = {
  connecting: "Connecting…",
  connected: "Connected",
  offline: "Offline. Your changes are sent when you are back",
  closed: "Disconnected",
} as const;

function nameInPath(): string {
  const encoded = /^\/d\/(.+)$/.exec(location.pathname)?.[1] ?? new URLSearchParams(location.search).get("doc") ?? "";
  try {
    return decodeURIComponent(encoded).trim().slice(0, 64);
  } catch {
    return "";
  }
}

function showLanding(): void {
  const [doc, name] = [$<HTMLInputElement>("doc"), $<HTMLInputElement>("first-name")];
  $("landing").hidden = false;
  name.value = ownUser().isNamed ? ownUser().name : "";
  const complain = (problem: string) => {
    $("doc-error").textContent = problem;
    doc.ariaInvalid = String(problem !== "");
  };
  doc.addEventListener("input", () => complain(""));
  $("open-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = doc.value.trim();
    if (chosen === "") {
      complain("Give the document a name.");
      doc.focus();
      return;
    }
    saveName(name.value);
    location.assign(`/d/${encodeURIComponent(chosen)}`);
  });
  doc.focus();
}

function openDocument(name: string): void {
  document.title = `${name} – shared document`;
  $("title").textContent = name;
  $("document").hidden = false;

  const ydoc = new Y.Doc();
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const provider = new WebsocketProvider(`${scheme}://${location.host}/ws`, encodeURIComponent(name), ydoc);
  const { awareness } = provider;
  const editor = createEditor($("editor"), ydoc.getText("text"), checked(awareness), `Text of ${name}`);

  const status = (state: keyof typeof TEXT) => {
    $("status").dataset["state"] = state;
    $("status-text").textContent = TEXT[state];
  };
  // Only a synced connection has the text; before, an empty page would look like an empty document.
  provider.on("sync", (isSynced) => isSynced && status("connected"));
  let wasConnected = false;
  provider.on("status", ({ status: now }) => {
    if (now === "connected") wasConnected = true;
    else if (wasConnected && provider.shouldConnect) status("offline");
  });
  provider.on("closed", ({ reason }) => {
    status("closed");
    editor.setReadOnly();
    $("problem").hidden = false;
    $("problem").textContent = `Your last changes were not saved: ${reason}. Copy them, and reload the page.`;
  });

  const announce = (user: User) => {
    awareness.setLocalStateField("user", { name: user.name, color: user.color, colorLight: `${user.color}33` });
    $("swatch").style.background = user.color;
  };
  const nameField = $<HTMLInputElement>("name");
  nameField.value = ownUser().isNamed ? ownUser().name : "";
  nameField.placeholder = ownUser().name;
  nameField.addEventListener("input", () => {
    saveName(nameField.value);
    announce(ownUser());
  });
  announce(ownUser());

  const showPeople = () => {
    const others = present(awareness).map(({ name, color }) => {
      const [item, dot, label] = [document.createElement("li"), document.createElement("span"), document.createElement("bdi")];
      dot.className = "swatch";
      dot.style.background = color;
      label.textContent = name;
      item.append(dot, label);
      return item;
    });
    $("people").replaceChildren(...others);
    $("people").hidden = others.length === 0;
  };
  awareness.on("change", showPeople);
  showPeople();

  $("copy").addEventListener("click", async () => {
    const text = $("copy-text");
    try {
      await navigator.clipboard.writeText(location.href);
      text.textContent = "Copied";
    } catch {
      text.textContent = "Copy the address";
    }
    text.classList.add("shown");
    setTimeout(() => {
      text.textContent = "Copy link";
      text.classList.remove("shown");
    }, 2_000);
  });
  // The others need not wait for a connection that times out.
  addEventListener("pagehide", () => provider.disconnect());
  addEventListener("pageshow", (event) => event.persisted && provider.connect());
  editor.focus();
}

const name = nameInPath();
if (name === "") showLanding();
else openDocument(name);
