// The banner that says that the connection is lost.

import type { Room, RoomSchema } from "room-client";
import { $ } from "./dom.ts";

/** Shows the state of a connection until the signal. The first attempt shows nothing, because it is short. */
export function showConnection<S extends RoomSchema>(room: Room<S>, signal: AbortSignal, changed: (isOpen: boolean) => void): void {
  const banner = $("banner");
  const retry = $("banner-retry");
  let isTroubled = false;
  room.onStatus(({ status }) => {
    if (signal.aborted) return;
    if (status === "reconnecting" || status === "closed") isTroubled = true;
    if (status === "open") isTroubled = false;
    banner.hidden = !isTroubled;
    banner.dataset.status = status;
    $("banner-text").textContent =
      status === "closed" ? "Disconnected." : "Connection lost. Reconnecting… Your bids and your seat are kept.";
    retry.hidden = status === "connecting";
    changed(status === "open");
  });
  retry.onclick = () => room.open();
  signal.addEventListener("abort", () => {
    banner.hidden = true;
    retry.onclick = null;
  });
}
