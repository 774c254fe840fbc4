// The generated bindings in tests/bindings/files and of the examples, as their readers see them: the compiler of
// TypeScript, a validator of JSON Schema, and the official schema of AsyncAPI; and the examples' pages, which use them. These tests
// need neither a build nor workerd.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const require = createRequire(import.meta.url);
const Ajv = require("ajv");
const Ajv2020 = require("ajv/dist/2020");

const root = fileURLToPath(new URL("../../", import.meta.url));
const ZOO = join(root, "tests/bindings/files");
const FOLDERS = [ZOO, join(root, "examples/auction/bindings"), join(root, "examples/chat/bindings")];
// The strictest settings that a page may have.
const STRICT = [
  "--noEmit", "--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes", "--noPropertyAccessFromIndexSignature",
  "--allowImportingTsExtensions", "--verbatimModuleSyntax", "--isolatedModules", "--target", "es2022", "--module", "esnext",
  "--moduleResolution", "bundler", "--lib", "es2022",
];

const json = async (file) => JSON.parse(await readFile(file, "utf8"));

async function files(extension) {
  const found = await Promise.all(FOLDERS.map(async (folder) => (await readdir(folder)).map((file) => join(folder, file))));
  const wanted = found.flat().filter((file) => file.endsWith(extension));
  assert.ok(wanted.length > FOLDERS.length, `there are few files ${extension}: ${wanted}`);
  return wanted;
}

/** Returns the output of the compiler about these files. */
const compile = (...sources) => tsc(...STRICT, ...sources);

/** Returns the output of the compiler. */
async function tsc(...args) {
  const program = join(root, "node_modules/typescript/bin/tsc");
  try {
    await promisify(execFile)(process.execPath, [program, ...args], { cwd: root });
    return "";
  } catch (error) {
    return error.stdout || error.message;
  }
}

test("TypeScript accepts the types and a client that uses them, and sees its mistakes", async () => {
  assert.equal(await compile(...await files(".ts")), "");
});

test("TypeScript names the variant that is misspelt", async () => {
  const folder = await mkdtemp(join(tmpdir(), "bindings-"));
  try {
    const file = join(folder, "wrong.ts");
    const types = JSON.stringify(join(ZOO, "zoo.ts"));
    await writeFile(file, `import type { Event } from ${types};\nexport const event: Event = { type: "leav" };\n`);
    assert.match(await compile(file), /wrong\.ts\(2,\d+\): error TS\d+: Type '"leav"' is not assignable to type .*"leave"/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("TypeScript accepts the page of the chat, and would see an event that the room does not have", async () => {
  const page = join(root, "examples/chat/page/tsconfig.json");
  const folder = await mkdtemp(join(tmpdir(), "bindings-"));
  try {
    await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ extends: page, include: ["wrong.ts"] }));
    const lines = [
      `import { connect } from "room-client";`,
      `import type { Chat } from ${JSON.stringify(join(root, "examples/chat/bindings/chat.ts"))};`,
      `const chat = connect<Chat>({ url: "/" });`,
      `chat.on("Message", ({ text }) => void chat.send({ type: "Shout", text }));`,
    ];
    await writeFile(join(folder, "wrong.ts"), lines.join("\n"));
    const [accepted, wrong] = await Promise.all([tsc("--project", page), tsc("--project", folder)]);
    assert.equal(accepted, "");
    const errors = wrong.split("\n").filter((line) => /error TS/.test(line));
    assert.equal(errors.length, 1, wrong);
    assert.match(errors[0], /wrong\.ts\(4,\d+\): error TS\d+: Type '"Shout"' is not assignable to type .*"Say"/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("TypeScript accepts the page of the auctions", async () => {
  assert.equal(await tsc("--project", join(root, "examples/auction/page/tsconfig.json")), "");
});

test("no generated type is `any`", async () => {
  for (const file of await files(".ts")) assert.doesNotMatch(await readFile(file, "utf8"), /(:|<|\|) *any\b/, file);
});

test("TypeScript accepts the samples that the room writes", async () => {
  const samples = await json(join(ZOO, "samples.json"));
  const folder = await mkdtemp(join(tmpdir(), "bindings-"));
  try {
    const file = join(folder, "samples.ts");
    const names = Object.keys(samples);
    const lines = [`import type { ${names.join(", ")} } from ${JSON.stringify(join(ZOO, "zoo.ts"))};`];
    for (const name of names) lines.push(`export const of${name}: ${name}[] = ${JSON.stringify(samples[name], null, 1)};`);
    await writeFile(file, lines.join("\n"));
    assert.equal(await compile(file), "");
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a strict validator of JSON Schema reads the schemas", async () => {
  for (const file of (await files(".json")).filter((file) => !/samples|asyncapi/.test(file))) {
    const schema = await json(file);
    // Only what is wrong: a type of a client may be a union of types, and an enum may repeat the keys of its struct.
    const ajv = new Ajv2020({ strict: true, allowUnionTypes: true, strictTypes: false, strictRequired: false });
    ajv.addSchema(schema, "room");
    for (const name of Object.keys(schema.$defs)) ajv.compile({ $ref: `room#/$defs/${name}` });
  }
});

test("the JSON Schema accepts the samples, and no number that JavaScript would change", async () => {
  const ajv = new Ajv2020({ strict: false });
  ajv.addSchema(await json(join(ZOO, "zoo.json")), "zoo");
  for (const [name, samples] of Object.entries(await json(join(ZOO, "samples.json")))) {
    const validate = ajv.compile({ $ref: `zoo#/$defs/${name}` });
    for (const sample of samples) assert.ok(validate(sample), `${JSON.stringify(sample)}: ${ajv.errorsText(validate.errors)}`);
  }
  const validate = ajv.compile({ $ref: "zoo#/$defs/Event" });
  assert.ok(validate(JSON.parse('{"type": "adopt", "since": 9007199254740991}')));
  assert.ok(!validate(JSON.parse('{"type": "adopt", "since": 9007199254740993}')));
  assert.ok(!validate(JSON.parse('{"type": "adopted", "since": 1}')));
});

test("the AsyncAPI documents are valid by the official schema", async () => {
  const official = require("@asyncapi/specs/schemas/3.0.0.json");
  // It contains the schema of JSON Schema, which the validator otherwise brings along too.
  const ajv = new Ajv({ meta: false, validateSchema: false, strict: false, validateFormats: false, allErrors: true });
  const validate = ajv.compile(official);
  for (const file of await files(".asyncapi.json")) {
    const document = await json(file);
    assert.ok(validate(document), `${file}: ${ajv.errorsText(validate.errors, { separator: "\n" })}`);
    assertRefs(document, document, file);
    // The same validator sees a mistake.
    assert.ok(!validate({ ...document, operations: { event: { action: "receives" } } }));
  }
});

/** The schema of AsyncAPI does not follow references. */
function assertRefs(value, document, file) {
  if (value === null || typeof value !== "object") return;
  if (typeof value.$ref === "string") {
    const parts = value.$ref.replace("#/", "").split("/");
    assert.notEqual(parts.reduce((at, part) => at?.[part], document), undefined, `${file}: ${value.$ref}`);
  }
  for (const inner of Object.values(value)) assertRefs(inner, document, file);
}

test("the schemas within an AsyncAPI document accept the samples", async () => {
  const ajv = new Ajv({ strict: false });
  const { components } = await json(join(ZOO, "zoo.asyncapi.json"));
  ajv.addSchema({ components }, "zoo");
  for (const [name, samples] of Object.entries(await json(join(ZOO, "samples.json")))) {
    const validate = ajv.compile({ $ref: `zoo#/components/schemas/${name}` });
    for (const sample of samples) assert.ok(validate(sample), `${JSON.stringify(sample)}: ${ajv.errorsText(validate.errors)}`);
  }
});
