import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger, VirtualClock } from '../../src/core/index.ts';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { formatProblem, loadPolicies, PolicyFiles } from '../../src/policy/index.ts';
import { descriptorSetOf } from '../harness/descriptor-set.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from '../mesh/at-end.ts';
import { startSidecar } from '../mesh/mesh.ts';
import { answerOk, hold, startUpstream } from '../mesh/upstream.ts';

checkLeaks();

const descriptors = descriptorSetOf(`
  syntax = "proto3";
  package acme;
  message Empty {}
  service Echo {
    rpc Get (Empty) returns (Empty) { option idempotency_level = NO_SIDE_EFFECTS; }
    rpc Put (Empty) returns (Empty) { option idempotency_level = IDEMPOTENT; }
    rpc Add (Empty) returns (Empty);
  }
`);

const policies = (endpoint: string, action: string): string => `descriptor_sets: [acme.binpb]
routes:
  - name: echo
    match: { prefix: /acme. }
    route: { cluster: echo, timeout: 0s, ${action} }
clusters: { echo: { endpoints: ["${endpoint}"], tls: { mode: disable } } }
`;

const folderWith = (t: Parameters<typeof atEnd>[0], text: string, set: Uint8Array | undefined): string => {
  const folder = temporaryFolder();
  atEnd(t, () => folder[Symbol.dispose]());
  writeFileSync(join(folder.path, 'p.yaml'), text);
  if (set !== undefined) writeFileSync(join(folder.path, 'acme.binpb'), set);
  return folder.path;
};

test('methods that a descriptor set declares idempotent are, for a folder of policies as for one file', (t) => {
  const folder = folderWith(t, policies('h:1', 'retry_policy: { retry_on: unavailable }'), descriptors);
  for (const path of [folder, join(folder, 'p.yaml')]) {
    const { table, problems } = loadPolicies([path]);
    assert.deepEqual(problems, [], 'and nobody is asked for idempotent:');
    assert.deepEqual([...(table?.idempotentMethods ?? [])], ['/acme.Echo/Get', '/acme.Echo/Put']);
  }
});

test('a descriptor set that is not there, is none, or has no methods is told with place and remedy', (t) => {
  const text = policies('h:1', 'idempotent: false');
  for (const [set, expected] of [
    [undefined, /p\.yaml:1:19: descriptor_sets\[0\]: "acme\.binpb" is not there; put the file/],
    [Buffer.from('nonsense'), /p\.yaml:1:19: descriptor_sets\[0\]: "acme\.binpb" is no descriptor set; make it with "protoc -o"/],
    [Buffer.alloc(0), /p\.yaml:1:19: descriptor_sets\[0\]: "acme\.binpb" has no methods; make it/],
  ] as const) {
    const { table, problems } = loadPolicies([folderWith(t, text, set)]);
    assert.equal(table, undefined);
    assert.match(problems.map(formatProblem).join('\n'), expected);
  }
});

test('only the methods that a descriptor set declares idempotent are hedged where the route says nothing', async (t) => {
  const service = await startUpstream(t, (call, index) => (index % 2 === 0 ? hold(call, index) : answerOk(call)));
  const folder = folderWith(t, policies(service.address, 'hedge_policy: { initial_requests: 2 }'), descriptors);
  const { caller } = await startSidecar(t, { environment: { POLICY_PATH: folder } });
  const client = caller();
  assert.equal((await client.call({ path: '/acme.Echo/Get' })).status, GrpcStatus.OK);
  assert.equal((await client.call({ path: '/acme.Echo/Put' })).status, GrpcStatus.OK);
  assert.equal(service.received.length, 4);
  const add = client.start({ path: '/acme.Echo/Add' });
  await service.call(4);
  assert.equal((await client.call({ path: '/acme.Echo/Add' })).status, GrpcStatus.OK);
  assert.equal(service.received.length, 6, 'one attempt each');
  add.cancel();
});

test('one file of policies is read again when only its descriptor set changes, goes or comes', (t) => {
  const clock = new VirtualClock();
  const folder = folderWith(t, policies('h:1', 'retry_policy: { retry_on: unavailable }'), descriptors);
  const files = new PolicyFiles(join(folder, 'p.yaml'), { clock, log: silentLogger });
  atEnd(t, () => files.close());
  const methods = (): readonly string[] => [...files.value.idempotentMethods];
  assert.deepEqual(methods(), ['/acme.Echo/Get', '/acme.Echo/Put']);
  const set = join(folder, 'acme.binpb');
  const other = descriptorSetOf(
    'syntax = "proto3"; package acme; message Empty {} service Echo { rpc Add (Empty) returns (Empty) { option idempotency_level = IDEMPOTENT; } }',
  );
  writeFileSync(set, other);
  // The poll sees it, whatever events are lost.
  clock.advance(1_200);
  assert.deepEqual([methods(), files.reloadOk, files.reloadFailed], [['/acme.Echo/Add'], 1, 0]);

  rmSync(set);
  clock.advance(1_200);
  assert.deepEqual([methods(), files.reloadOk, files.reloadFailed], [['/acme.Echo/Add'], 1, 1], 'the last good one stays');
  writeFileSync(set, descriptors);
  clock.advance(1_200);
  assert.deepEqual([methods(), files.reloadOk], [['/acme.Echo/Get', '/acme.Echo/Put'], 2]);

  writeFileSync(join(folder, 'notes.txt'), 'nothing to do with it');
  clock.advance(1_200);
  assert.equal(files.history.length, 4);
});
