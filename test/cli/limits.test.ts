import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readSidecarConfiguration } from '../../src/cli/configuration.ts';
import { machineLimits, processLimits } from '../../src/cli/limits.ts';
import { ConfigurationError } from '../../src/core/index.ts';

const gibibyte = 2 ** 30;

const read = (environment: Readonly<Record<string, string>>) =>
  readSidecarConfiguration({ environment: { SERVICE_NAME: 'echo', INBOUND_TLS: 'off', ...environment } });

const limitsOf = (environment: Readonly<Record<string, string>>, openFiles = 1_024, memoryBytes = gibibyte) =>
  processLimits(read(environment), { openFiles, memoryBytes });

test('without a word the limits are what the descriptors allow, with room for files, admin and upstreams', () => {
  const small = limitsOf({}, 256);
  assert.deepEqual(
    [small.connections.perProcess, small.connections.perListener, small.connections.sockets.limit, small.adminConnections],
    [128, 102, 160, 32],
  );
  assert.equal(small.connections.perSource, Number.POSITIVE_INFINITY);
  const large = limitsOf({}, 1_048_576);
  assert.deepEqual([large.connections.perProcess, large.connections.perListener, large.adminConnections], [50_000, 40_000, 256]);
  assert.equal(limitsOf({}, Number.POSITIVE_INFINITY).connections.perProcess, 50_000);
});

test('whatever the number of descriptors, accepted, upstream and admin connections together stay below it', () => {
  fc.assert(
    fc.property(fc.integer({ min: 80, max: 2_000_000 }), (openFiles) => {
      const { adminConnections, connections } = limitsOf({}, openFiles);
      assert.ok(connections.sockets.limit + adminConnections + 32 <= openFiles);
      assert.ok(connections.perListener <= connections.perProcess && connections.perProcess < connections.sockets.limit);
      assert.ok(connections.perListener >= 1 && adminConnections >= 4);
    }),
  );
});

test('what is configured holds, as far as the descriptors allow it', () => {
  const { connections, warnings } = limitsOf({
    MAX_CONNECTIONS: '100',
    MAX_CONNECTIONS_PER_LISTENER: '90',
    MAX_CONNECTIONS_PER_SOURCE: '7',
  });
  assert.deepEqual([connections.perProcess, connections.perListener, connections.perSource], [100, 90, 7]);
  assert.deepEqual(warnings, []);
  const lowered = limitsOf({ MAX_CONNECTIONS: '100000' });
  assert.equal(lowered.connections.perProcess, 665);
  assert.match(lowered.warnings[0] ?? '', /MAX_CONNECTIONS is 100000, and 1024 open files allow 665; raise the limit \(ulimit -n\)/);
});

test('the memory limit is the smaller one of the machine and MAX_MEMORY, which has a unit', () => {
  assert.equal(limitsOf({}).memoryBytes, gibibyte);
  assert.equal(limitsOf({ MAX_MEMORY: '512Mi' }).memoryBytes, gibibyte / 2);
  assert.equal(limitsOf({ MAX_MEMORY: '512MiB' }).memoryBytes, gibibyte / 2);
  assert.equal(limitsOf({ MAX_MEMORY: '0.5Gi' }).memoryBytes, gibibyte / 2);
  assert.equal(limitsOf({ MAX_MEMORY: '500m' }).memoryBytes, 500_000_000);
  assert.equal(limitsOf({ MAX_MEMORY: '100GB' }).memoryBytes, gibibyte);
});

test('limits that are none are refused with what to write', () => {
  const problems = (environment: Readonly<Record<string, string>>): string => {
    try {
      read(environment);
    } catch (error) {
      assert.ok(error instanceof ConfigurationError);
      return error.message;
    }
    return '';
  };
  assert.match(problems({ MAX_CONNECTIONS: '0' }), /MAX_CONNECTIONS: "0" is not allowed: expected a number from 1 to 9999999; write/);
  assert.match(problems({ MAX_CONNECTIONS_PER_LISTENER: '1e3' }), /MAX_CONNECTIONS_PER_LISTENER: "1e3" is not allowed/);
  assert.match(problems({ MAX_CONNECTIONS_PER_SOURCE: '-1' }), /from 0 to 9999999 \(0: no limit\)/);
  assert.match(problems({ MAX_MEMORY: '536870912' }), /MAX_MEMORY: "536870912" .* with its unit.*; write MAX_MEMORY=512Mi/);
  for (const text of ['16Mi', 'half', '-1Gi', '1 GiB', '']) {
    if (text !== '') assert.match(problems({ MAX_MEMORY: text }), /MAX_MEMORY=512Mi/, text);
    else assert.equal(problems({ MAX_MEMORY: text }), '');
  }
});

test('this machine has limits', () => {
  const { memoryBytes, openFiles } = machineLimits();
  assert.ok(openFiles >= 64);
  assert.ok(Number.isFinite(memoryBytes) && memoryBytes > 64 * 2 ** 20);
});
