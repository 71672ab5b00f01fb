import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecentFailures } from '../../src/admin/index.ts';
import { type Fate, VirtualClock } from '../../src/core/index.ts';
import type { EndedCall } from '../../src/telemetry/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { AdminFixture } from './admin-fixture.ts';

checkLeaks();

/** As far as it is asked. */
const ended = (fate: Fate, more: Partial<EndedCall> = {}): EndedCall =>
  ({
    direction: 'outbound',
    fate,
    grpcStatus: 14,
    durationMs: 12.345,
    path: '/acme.Echo/Say',
    authority: 'echo',
    routeName: 'echo-route',
    routeLocation: 'mesh.yaml:3',
    cluster: 'echo',
    endpoint: '10.0.0.4:50051',
    attempts: 2,
    replyMessage: 'cluster echo: nobody listens; start it',
    traceId: '0af7651916cd43dd8448eb211c80319c',
    ...more,
  }) as unknown as EndedCall;

test('calls that failed are kept, newest first; those that went well or were cancelled are not', () => {
  const clock = new VirtualClock();
  const failures = new RecentFailures(clock);
  for (const fate of ['ok', 'cancelled', 'connect_failure', 'app_error'] as const) failures.onCallEnd(ended(fate));
  assert.deepEqual(
    failures.calls.map(({ fate }) => fate),
    ['app_error', 'connect_failure'],
  );
  assert.equal(failures.total, 2);
  const [, call] = failures.calls;
  assert.deepEqual(call, {
    id: 1,
    atMs: clock.wallNow(),
    direction: 'outbound',
    fate: 'connect_failure',
    grpcStatus: 14,
    durationMs: 12.3,
    path: '/acme.Echo/Say',
    authority: 'echo',
    attempts: 2,
    route: 'echo-route',
    location: 'mesh.yaml:3',
    cluster: 'echo',
    endpoint: '10.0.0.4:50051',
    message: 'cluster echo: nobody listens; start it',
    traceId: '0af7651916cd43dd8448eb211c80319c',
  });
});

test('a flood of one kind costs five entries a second, and does not hide the one call of another', () => {
  const clock = new VirtualClock();
  const failures = new RecentFailures(clock);
  failures.onCallEnd(ended('denied', { path: '/acme.Echo/Secret' }));
  for (let second = 0; second < 60; second++) {
    let asked = 0;
    const flood = ended('circuit_open');
    const counted = Object.defineProperty({ ...flood }, 'path', {
      get: () => {
        asked++;
        return flood.path;
      },
    });
    for (let i = 0; i < 1_000; i++) failures.onCallEnd(counted);
    assert.equal(asked, 5, 'strings are made for those alone that are kept');
    clock.advance(1_000);
  }
  assert.equal(failures.calls.length, 100);
  assert.equal(failures.total, 60_001);
  assert.equal(failures.calls.at(-1)?.path, '/acme.Echo/Secret');
});

test('what comes from the network is cut', () => {
  const failures = new RecentFailures(new VirtualClock());
  failures.onCallEnd(
    ended('no_route', { path: `/${'a'.repeat(100_000)}`, authority: 'b'.repeat(100_000), replyMessage: 'c'.repeat(100_000) }),
  );
  const [call] = failures.calls;
  assert.ok(JSON.stringify(call).length < 2_000);
  assert.ok(call?.path.endsWith('…'));
});

test('/failures has a line for each, and JSON with what it means and what to do', async () => {
  await using admin = await AdminFixture.start();
  assert.equal((await admin.get('/failures')).body, 'no call has failed since the start\n');
  admin.views.failures.onCallEnd(ended('connect_failure', { path: '/acme.Echo/\u001b[31m<script>\nforged' }));
  const { body, headers } = await admin.get('/failures');
  assert.match(String(headers['content-type']), /^text\/plain/);
  assert.match(
    body,
    /outbound {2}connect_failure {2}12\.3ms {2}\/acme\.Echo\/\?\[31m<script>\?forged {2}echo at 10\.0\.0\.4:50051 {2}trace 0af7/,
  );
  assert.equal(body.split('\n').length, 3, 'a path cannot write lines');
  const { total, failures } = (await admin.get('/failures?format=json')).json();
  assert.equal(total, 1);
  assert.equal(failures[0].fate, 'connect_failure');
  assert.match(failures[0].meaning, /No connection/);
  assert.match(failures[0].remedy, /\w/);
  assert.equal(failures[0].at, '2026-01-01T00:00:00.000Z');
  assert.equal((await admin.get('/failures?format=xml')).status, 400);
});
