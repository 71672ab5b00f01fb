import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readDescriptorSet } from '../../src/grpc/index.ts';
import { descriptorSetOf } from '../harness/descriptor-set.ts';

const source = `
  syntax = "proto3";
  package acme.v1;
  message Empty { string text = 1; map<string, int64> counts = 2; }
  service Ledger {
    rpc Get (Empty) returns (Empty) { option idempotency_level = NO_SIDE_EFFECTS; }
    rpc Put (Empty) returns (Empty) { option deprecated = true; option idempotency_level = IDEMPOTENT; }
    rpc Add (Empty) returns (stream Empty);
  }
  service Other { rpc Get (Empty) returns (Empty); }
`;

test('every method has the level that its file gives it', () => {
  const methods = readDescriptorSet(descriptorSetOf(source));
  assert.deepEqual(
    [...(methods ?? [])],
    [
      ['/acme.v1.Ledger/Get', 'no_side_effects'],
      ['/acme.v1.Ledger/Put', 'idempotent'],
      ['/acme.v1.Ledger/Add', 'unknown'],
      ['/acme.v1.Other/Get', 'unknown'],
    ],
  );
});

test('what is cut off or is something else is no descriptor set, and no input makes it throw', () => {
  const whole = descriptorSetOf(source);
  for (let length = 1; length < whole.length; length += 7) {
    const read = readDescriptorSet(whole.subarray(0, length));
    assert.ok(read === undefined || read.size < 4);
  }
  assert.equal(readDescriptorSet(Buffer.from('syntax = "proto3";')), undefined);
  assert.equal(readDescriptorSet(Buffer.alloc(100, 0xff)), undefined);
  assert.equal(readDescriptorSet(Buffer.alloc(0))?.size, 0);
  for (let i = 0; i < whole.length; i++) {
    const bent = Buffer.from(whole);
    bent[i] = (bent[i] as number) ^ 0x95;
    readDescriptorSet(bent);
  }
});
