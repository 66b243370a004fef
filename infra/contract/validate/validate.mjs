// Usage: node validate.mjs FOLDER, a folder such as published/v1.
// Parses the AsyncAPI document with the AsyncAPI project's own parser, and validates each example by its schema with a second validator. Ends
// with 1 on the first fault of either.

import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';

import asyncapi from '@asyncapi/parser';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

const folder = process.argv[2];
assert(folder, 'usage: node validate.mjs FOLDER');
const json = async (...names) => JSON.parse(await readFile(path.join(folder, ...names), 'utf8'));

const { document, diagnostics } = await asyncapi.fromFile(new asyncapi.Parser(), path.join(folder, 'asyncapi.json')).parse();
// 0 is an error; the others are advice on style.
const faults = diagnostics.filter(({ severity }) => severity === 0);
assert.deepEqual(faults, [], 'the parser finds faults');
assert(document, 'the parser reads the document');

const ajv = addFormats.default(new Ajv2020.default({ strict: true, allErrors: true }));
const valid = (name, validate, value) => assert(validate(value), `${name}: ${ajv.errorsText(validate.errors)}`);

const messages = document.allMessages().all();
const files = (await readdir(path.join(folder, 'schemas'))).sort();
assert.deepEqual(messages.map((message) => `${message.name()}.json`).sort(), files, 'each message has its schema');

for (const message of messages) {
  const name = message.name();
  const schema = await json('schemas', `${name}.json`);
  const payload = ajv.compile(schema);
  const headers = ajv.compile((await json('asyncapi.json')).components.messages[message.id()].headers);
  const record = await json('examples', `${name}.json`);
  const [example] = message.examples().all();
  assert(example, `${name} has an example`);
  assert.deepEqual(example.payload(), record.value, `${name}: the document shows the example`);
  valid(name, payload, record.value);
  valid(`headers of ${name}`, headers, record.headers);
  // A schema that allows everything proves nothing.
  for (const property of schema.required) {
    const { [property]: _, ...without } = record.value;
    assert(!payload(without), `${name} without ${property} is not valid`);
  }
}
console.log(`${messages.length} messages, ${files.length} schemas: valid`);
