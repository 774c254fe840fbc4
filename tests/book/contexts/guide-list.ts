import { connect } from "room-client";

interface Item {
  id: number;
  text: string;
  done: boolean;
}

interface List {
  event: { type: "Check"; id: number; done: boolean };
  broadcast: { type: "List"; items: Item[] } | { type: "Added"; item: Item } | { type: "Changed"; item: Item };
  calls: { add: { args: { text: string }; result: number; error: "Empty" } };
}

declare function show(items: Item[]): void;

// BLOCK
