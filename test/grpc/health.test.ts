import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { MethodDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import fc from 'fast-check';
import { HealthResponses, healthRequest, type ServingStatus, servingStatuses } from '../../src/grpc/index.ts';

const protocol = loadSync(fileURLToPath(new URL('../../proto/grpc/health/v1/health.proto', import.meta.url)), {
  enums: String,
  defaults: true,
});
const check = (protocol['grpc.health.v1.Health'] as unknown as { Check: MethodDefinition<{ service: string }, { status: string }> }).Check;

const framed = (message: Uint8Array): Buffer => {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
};
const read = (...parts: readonly Uint8Array[]) => {
  const responses = new HealthResponses();
  const statuses: ServingStatus[] = [];
  let problem: string | undefined;
  for (const part of parts) {
    // Memory that is lent, and somebody else's afterwards.
    const lent = Buffer.from(part);
    problem ??= responses.read(lent, 0, lent.length, (status) => statuses.push(status));
    lent.fill(0xee);
  }
  return { statuses, problem };
};

test('a request is what protobufjs reads, whatever the name', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 300, unit: 'binary' }), (service) => {
      const request = healthRequest(service);
      assert.equal(Buffer.from(request).readUInt32BE(1), request.length - 5);
      // A lone surrogate is no UTF-8 in either.
      assert.equal(check.requestDeserialize(Buffer.from(request.subarray(5))).service, Buffer.from(service).toString());
    }),
  );
});

test('an answer of protobufjs is read, however its bytes are split', () => {
  const messages = fc.array(fc.constantFrom(...servingStatuses), { maxLength: 5 });
  fc.assert(
    fc.property(messages, fc.array(fc.nat(60), { maxLength: 5 }), (list, cuts) => {
      const bytes = Buffer.concat(list.map((status) => framed(check.responseSerialize({ status }))));
      const places = [...new Set(cuts.filter((cut) => cut < bytes.length))].sort((a, b) => a - b);
      const parts = [0, ...places].map((from, i) => bytes.subarray(from, places[i] ?? bytes.length));
      assert.deepEqual(read(...parts), { statuses: list, problem: undefined });
    }),
  );
});

test('unknown fields are passed over, the last status counts, and a number that nobody knows is UNKNOWN', () => {
  const message = Buffer.from([0x12, 2, 1, 2, 0x08, 2, 0x19, 0, 0, 0, 0, 0, 0, 0, 0, 0x25, 0, 0, 0, 0, 0x08, 1]);
  assert.deepEqual(read(framed(message)).statuses, ['SERVING']);
  assert.deepEqual(read(framed(Buffer.from([0x08, 77]))).statuses, ['UNKNOWN']);
  assert.deepEqual(read(framed(Buffer.alloc(0))).statuses, ['UNKNOWN']);
  const of64Bits = Buffer.from([0x08, 0x82, 0x80, 0x80, 0x80, 0x10]);
  assert.deepEqual(read(framed(of64Bits)).statuses, [check.responseDeserialize(of64Bits).status], 'an enum is 32 bits of it');
});

for (const [name, bytes, problem] of [
  ['compressed', Buffer.from([1, 0, 0, 0, 0]), 'the answer is compressed, which nobody asked for'],
  ['too long', Buffer.from([0, 0, 1, 0, 0]), 'the answer has a message of 65536 bytes, which is no HealthCheckResponse'],
  ['cut within a field', framed(Buffer.from([0x12, 9, 1])), 'the answer is no HealthCheckResponse'],
  ['cut within a number', framed(Buffer.from([0x08, 0x80])), 'the answer is no HealthCheckResponse'],
  ['a number without end', framed(Buffer.alloc(20, 0xff)), 'the answer is no HealthCheckResponse'],
  ['a group', framed(Buffer.from([0x0b])), 'the answer is no HealthCheckResponse'],
] as const) {
  test(`an answer that is ${name} is refused`, () => {
    assert.deepEqual(read(bytes), { statuses: [], problem });
  });
}

test('whatever comes is read or refused, and not more than one message of it is kept', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 }), (parts) => {
      for (const status of read(...parts).statuses) assert.ok(servingStatuses.includes(status));
    }),
  );
});
