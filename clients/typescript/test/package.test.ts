// The package as a program gets it: its types, its size, its entries.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");

/** The bound of the core as README.md states it, minified and compressed, in bytes. */
const CORE = 6_500;

test("the compiler names each mistake of a program", () => {
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const options = "--ignoreConfig --noEmit --strict --target es2022 --module nodenext --types node --pretty false".split(" ");
  const { status, stdout } = spawnSync(process.execPath, [tsc, ...options, "test/types/bad/program.ts"], {
    cwd: root,
    encoding: "utf8",
  });
  assert.notEqual(status, 0);
  const expected: [number, RegExp][] = [
    [10, /"Sai"/],
    [11, /'txt'/],
    [12, /"Mesage"/],
    [13, /'txt'/],
    [14, /'renam'/],
    [15, /'nme'/],
  ];
  const errors = stdout.split("\n").filter((line) => line.includes("error TS"));
  assert.equal(errors.length, expected.length, stdout);
  for (const [i, [line, text]] of expected.entries()) {
    const error = errors[i]!;
    assert.ok(error.includes(`program.ts(${line},`), error);
    assert.match(error, text);
  }
});

async function bundle(entry: string): Promise<{ text: string; size: number }> {
  const { outputFiles } = await build({
    stdin: { contents: `export * from "room-client${entry}";`, resolveDir: root },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    external: ["react"],
    write: false,
  });
  const { text, contents } = outputFiles[0]!;
  return { text, size: gzipSync(contents, { level: 9 }).length };
}

test(`the core has at most ${CORE} bytes, minified and compressed`, async () => {
  const { text, size } = await bundle("");
  const packed = await bundle("/msgpack");
  const react = await bundle("/react");
  console.log(`${size} bytes; with React's hooks ${react.size}; MessagePack alone ${packed.size}`);
  assert.ok(size <= CORE, `${size} bytes`);
  assert.ok(size > CORE - 500, `${size} bytes: README.md can state less than ${CORE}`);
  // The class of the other codec.
  assert.doesNotMatch(text, /useBigInt64/);
  assert.match(packed.text, /useBigInt64/);
});

test("README.md states the bound of the size and each option with its default", () => {
  const readme = readFileSync(join(root, "README.md"), "utf8");
  assert.ok(readme.includes(`${(CORE / 1000).toFixed(1)} kB`));
  const sources = ["room.ts", "link.ts", "outbox.ts", "stream.ts", "validate.ts"].map((file) => readFileSync(join(root, "src", file), "utf8"));
  const options = sources.flatMap((text) =>
    [...text.matchAll(/export (?:interface|type) \w*Options[^]*?\n\s*}/g)].flatMap(([block]) =>
      [...block.matchAll(/^ +(\w+)\??: /gm)].map(([, name]) => name!),
    ),
  );
  assert.ok(options.length > 20, `${options}`);
  const missing = options.filter((name) => !readme.includes(`\`${name}\``) && !readme.includes(`.${name}\``) && !readme.includes(`\`${name}.`));
  assert.deepEqual(missing, []);
});

test("the core imports nothing, and no entry runs anything when it is imported", async () => {
  const { text } = await bundle("");
  assert.doesNotMatch(text, /\bimport\b/);
  const before = Object.keys(globalThis);
  await import("room-client");
  await import("room-client/msgpack");
  assert.deepEqual(Object.keys(globalThis), before);
});
