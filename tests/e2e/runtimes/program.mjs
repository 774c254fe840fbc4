// For Node.js, Bun and Deno: `program.mjs URL RESUMPTIONS` prints the number of acknowledged events.

import { argv, exit } from "node:process";
import { add } from "./add.mjs";

const [url, resumptions] = argv.slice(-2);
console.log(await add(url, Number(resumptions)));
// A socket that is closing would keep the program alive.
exit(0);
