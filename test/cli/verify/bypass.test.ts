import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { after, test } from 'node:test';
import { type BypassQuestion, checkBypass } from '../../../src/cli/verify/bypass-check.ts';
import type { CheckResult } from '../../../src/cli/verify/check-result.ts';
import { SystemClock } from '../../../src/core/index.ts';
import { checkLeaks } from '../../harness/leak-check.ts';
import { freePort } from '../../harness/ports.ts';
import { assertFailure, consulProgram, startHealthService, VerifiedMesh } from './verified-mesh.ts';

// Where the registered address of a service stands for one that others reach: all of 127.0.0.0/8 is there on Linux.
const outside = '127.0.0.2';
const skip = process.platform === 'linux' ? consulProgram.skip : 'only Linux has all of 127.0.0.0/8';
let mesh: VerifiedMesh | undefined;
// Before the check for what is left over, which looks after it.
after(() => mesh?.[Symbol.asyncDispose]());
checkLeaks();
if (skip === false) mesh = await VerifiedMesh.start();

test('a service that listens on all interfaces is called around its sidecar, and one on loopback is not', { skip }, async () => {
  assert.ok(mesh);
  const [open, closed] = [mesh.use(await startHealthService('0.0.0.0')), mesh.use(await startHealthService())];
  const environment = { SERVICE_ADDRESS: outside };
  await Promise.all([
    mesh.sidecar({ name: 'open-svc', servicePort: open.port, environment }),
    mesh.sidecar({ name: 'closed-svc', servicePort: closed.port, environment }),
  ]);
  await Promise.all([mesh.registered('open-svc'), mesh.registered('closed-svc')]);
  const verdict = await mesh.verify('open-svc,closed-svc');
  assert.equal(verdict.code, 1);
  assert.deepEqual(verdict.failed(), ['local_service.bypass']);
  const { remedy } = verdict.check('local_service.bypass', 'open-svc');
  assertFailure(
    verdict.check('local_service.bypass', 'open-svc'),
    new RegExp(
      `^127\\.0\\.0\\.2:${open.port} answers SERVING in plain text: whoever reaches it needs no certificate, and no policy holds$`,
    ),
    new RegExp(`^ss -ltn 'sport = :${open.port}' {2}# .*let the service listen on 127\\.0\\.0\\.1:${open.port} alone`),
  );
  assert.ok(remedy?.includes('network namespace'));
  const { result, detail } = verdict.check('local_service.bypass', 'closed-svc');
  assert.equal(result, 'ok', detail);
  assert.match(detail, new RegExp(`^nobody answers at 127\\.0\\.0\\.2:${closed.port}\\b.*: the way to it is its sidecar$`));
});

test('where the sidecar does not say where its service is, nothing is claimed', { skip }, async () => {
  assert.ok(mesh);
  const sidecar = await mesh.sidecar({ name: 'silent-svc' });
  await mesh.registered('silent-svc');
  // Its admin port is not the one that answers here.
  const verdict = await mesh.verify('silent-svc', ['--admin', `silent-svc=127.0.0.1:${await freePort()}`]);
  const { result, detail } = verdict.check('local_service.bypass');
  assert.equal(result, 'skipped');
  assert.equal(detail, 'nobody says where the service listens: the admin port of its sidecar would');
  assert.ok(sidecar.adminPort > 0);
});

/** Of a service at `port` of the loopback, whose sidecar is registered elsewhere. */
const ask = (port: number, more: Partial<BypassQuestion> = {}): Promise<CheckResult> =>
  checkBypass({
    service: 'auth-svc',
    inbound: { host: outside, port: 1 },
    isInboundReached: true,
    local: { address: { host: '127.0.0.1', port }, isUnhealthy: false },
    outward: [],
    timeoutMs: 5_000,
    clock: new SystemClock(),
    ...more,
  });

test('known by its loopback alone, a service of this machine is tried at the other addresses of it', { skip }, async () => {
  const inbound = { host: '127.0.0.1', port: 1 };
  await using open = await startHealthService('0.0.0.0');
  await using closed = await startHealthService();
  assert.equal((await ask(open.port, { inbound, outward: [outside] })).outcome, 'failed');
  assert.equal((await ask(closed.port, { inbound, outward: [outside] })).outcome, 'ok');
  assert.deepEqual(await ask(closed.port, { inbound }), {
    check: 'local_service.bypass',
    outcome: 'skipped',
    detail: 'this machine has no address beside its loopback',
  });
  // Behind a published port of a container it is not the loopback of here.
  const elsewhere = await ask(await freePort(), { inbound, outward: [outside] });
  assert.equal(elsewhere.outcome, 'skipped');
  assert.match(elsewhere.detail, /^it is known by its loopback alone, and 127\.0\.0\.1:\d+ is not there: ask on its machine/);
});

test('a service on a network is tried where its sidecar finds it, but not from the machine of the sidecar', { skip }, async () => {
  await using service = await startHealthService();
  // As from another machine: no interface here has that address.
  const inbound = { host: '192.0.2.1', port: 50_051 };
  // No loopback by its look.
  const address = { host: '::ffff:127.0.0.1', port: service.port };
  const found = await ask(service.port, { inbound, local: { address, isUnhealthy: false } });
  assert.equal(found.outcome, 'failed');
  assert.match(
    found.remedy ?? '',
    /^nc -vz ::ffff:127\.0\.0\.1 \d+ {2}# must fail: let the service share the network namespace of its sidecar/,
  );
  const here = await ask(service.port, { local: { address, isUnhealthy: false } });
  assert.equal(here.outcome, 'skipped');
  assert.match(here.detail, /^its sidecar asks \[::ffff:127\.0\.0\.1\]:\d+ from this machine, too: ask from another one of the mesh$/);
  const unknown = await ask(0, { inbound, local: { address: { host: 'auth-svc.invalid', port: 8_080 }, isUnhealthy: false } });
  assert.equal(unknown.outcome, 'skipped', unknown.detail);
  assert.match(unknown.detail, /^auth-svc\.invalid:8080 is out of reach from here \(.+\): ask from a machine of the mesh$/);
});

test('something else at that port is a warning, and a service that is down proves nothing', { skip }, async () => {
  const server = createServer((socket) =>
    socket
      .on('error', () => {})
      .resume()
      .end('hello\r\n'),
  );
  server.listen(0, outside);
  await once(server, 'listening');
  const other = await ask((server.address() as AddressInfo).port);
  server.close();
  assert.equal(other.outcome, 'warning');
  assert.match(other.detail, /^something listens at 127\.0\.0\.2:\d+, though not as a gRPC service does: /);
  assert.match(other.remedy ?? '', /^ss -ltn /);
  const port = await freePort();
  const dead = await ask(port, { local: { address: { host: '127.0.0.1', port }, isUnhealthy: true } });
  assert.equal(dead.outcome, 'skipped');
  assert.equal(dead.detail, `nobody answers at 127.0.0.2:${port}, but the service does not answer its sidecar either`);
});
