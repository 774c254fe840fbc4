// For Workers: `/?to=URL&resumptions=N` answers with the number of acknowledged events.

import { add } from "./add.mjs";

export default {
  async fetch(request) {
    const { searchParams } = new URL(request.url);
    return Response.json(await add(searchParams.get("to"), Number(searchParams.get("resumptions"))));
  },
};
