interface Chat {
  event: { type: "Say"; text: string } | { type: "Typing" };
  broadcast: { type: "Message"; from: string; text: string };
  calls: { rename: { args: { name: string }; result: number; error: "Taken" } };
}

// BLOCK
