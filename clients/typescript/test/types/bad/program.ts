import { connect } from "room-client";

interface Chat {
  event: { type: "Say"; text: string };
  broadcast: { type: "Message"; text: string };
  calls: { rename: { args: { name: string }; result: number; error: string } };
}

const room = connect<Chat>({ url: "wss://room.test" });
void room.send({ type: "Sai", text: "hi" });
void room.send({ type: "Say", txt: "hi" });
room.on("Mesage", () => {});
room.on("Message", (message) => message.txt);
void room.call.renam({ name: "Ada" });
void room.call.rename({ nme: "Ada" });
