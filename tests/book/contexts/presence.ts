import type { Room } from "room-client";
import { usePresence } from "room-client/react";

declare const room: Room<{
  event: { type: "Say"; text: string };
  broadcast: { type: "Presence"; users: string[] } | { type: "Left"; user: string };
  calls: Record<never, never>;
}>;

// BLOCK
