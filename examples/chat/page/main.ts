// The page of the chat: a join screen, and then the screen of a room.
//
//   main     the join screen
//   screen   the room, which connects the other parts to `room-client`
//   log      messages and notices in order of arrival
//   people   the users in the room
//   typing   the users who are writing
//   outbox   messages that the room has not acknowledged
//   names    the names of users and rooms
//   dom      helpers
//
// Text from users becomes a text node and never markup.

import { $, stored } from "./dom.ts";
import { nameProblem, roomProblem, tidyName, tidyRoom } from "./names.ts";
import { RoomScreen } from "./screen.ts";

const fields = { name: $("name", HTMLInputElement), room: $("room", HTMLInputElement) };

function showProblem(field: "name" | "room", problem: string): boolean {
  $(`${field}-error`).textContent = problem;
  fields[field].ariaInvalid = String(problem !== "");
  return problem === "";
}

function join(): void {
  const name = tidyName(fields.name.value);
  const room = tidyRoom(fields.room.value);
  const isNameFine = showProblem("name", nameProblem(name));
  const isRoomFine = showProblem("room", roomProblem(room));
  if (!isNameFine || !isRoomFine) return fields[isNameFine ? "room" : "name"].focus();

  stored("localStorage", "name", name);
  // The URL leads to the same room after a reload, and for anyone who receives it.
  history.replaceState(null, "", `/?room=${encodeURIComponent(room)}`);
  $("join-screen").hidden = true;
  $("room-screen").hidden = false;
  new RoomScreen(name, room, left);
  $("composer").focus();
}

function left(room: string, problem: string): void {
  $("room-screen").hidden = true;
  $("join-screen").hidden = false;
  document.title = "Live chat room";
  if (problem !== "") {
    $("join-note").hidden = true;
    showProblem("name", `The room has refused you: ${problem}.`);
    return fields.name.focus();
  }
  $("join-note").hidden = false;
  $("join-note").textContent = `You left #${room}.`;
  $("join").focus();
}

function roomOfHash(): string {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

const query = new URLSearchParams(location.search);
fields.name.value = tidyName(query.get("name") ?? stored("localStorage", "name"));
fields.room.value = tidyRoom(query.get("room") || roomOfHash() || "lobby");
for (const field of ["name", "room"] as const) fields[field].addEventListener("input", () => showProblem(field, ""));
$("join-form").addEventListener("submit", (event) => {
  event.preventDefault();
  join();
});
$(fields.name.value === "" ? "name" : "join").focus();
