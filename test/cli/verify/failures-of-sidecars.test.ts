import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { callHealth } from '../../../src/cli/verify/health-call.ts';
import { SystemClock } from '../../../src/core/index.ts';
import { checkLeaks } from '../../harness/leak-check.ts';
import { freePort } from '../../harness/ports.ts';
import type { SidecarProcess } from '../../peers/sidecar-processes.ts';
import { assertFailure, consulProgram, startHealthService, VerifiedMesh } from './verified-mesh.ts';

const { skip } = consulProgram;
let mesh: VerifiedMesh | undefined;
// Before the check for what is left over, which looks after it.
after(() => mesh?.[Symbol.asyncDispose]());
checkLeaks();
if (skip === false) mesh = await VerifiedMesh.start();

const post = async (sidecar: SidecarProcess, path: string): Promise<void> => {
  const answer = await fetch(`http://127.0.0.1:${sidecar.adminPort}${path}`, { method: 'POST', headers: { connection: 'close' } });
  await answer.text();
  assert.ok(answer.ok, `${path}: ${answer.status}`);
};

const clusterPolicy = (name: string): string => `routes:
  - { name: all, match: { prefix: / }, route: { cluster: ${name}, timeout: 5s } }
clusters:
  ${name}: { endpoints: ["127.0.0.1:9"] }
`;

test('a service that nobody has registered', { skip }, async () => {
  assert.ok(mesh);
  const verdict = await mesh.verify('nobody-svc');
  assert.equal(verdict.code, 1);
  assertFailure(
    verdict.check('registration', 'nobody-svc'),
    /^is not in the catalogue$/,
    /^CONSUL_HTTP_ADDR=\S+ SERVICE_NAME=nobody-svc outrider sidecar /,
  );
});

test('a sidecar that registers nothing, known by its admin port', { skip }, async () => {
  assert.ok(mesh);
  const sidecar = await mesh.sidecar({ name: 'shy-svc', environment: { REGISTRATION: 'off' } });
  const verdict = await mesh.verify('shy-svc', ['--admin', `shy-svc=127.0.0.1:${sidecar.adminPort}`]);
  assert.deepEqual(verdict.failed(), ['registration']);
  assert.equal(verdict.check('call.inbound').result, 'ok');
});

test('a service that has died: its check in Consul, its sidecar and a call say so', { skip }, async () => {
  assert.ok(mesh);
  const service = await startHealthService();
  const sidecar = await mesh.sidecar({ name: 'dead-svc', servicePort: service.port });
  await mesh.registered('dead-svc');
  await service[Symbol.asyncDispose]();
  await mesh.registered('dead-svc', 'critical');
  const verdict = await mesh.verify('dead-svc');
  assert.deepEqual(verdict.failed(), ['registration.health', 'call.inbound', 'local_service']);
  const look = new RegExp(`^outrider stats --admin 127\\.0\\.0\\.1:${sidecar.adminPort} --filter '\\^local_service' {2}# `);
  assertFailure(verdict.check('registration.health'), /^dead-svc, as its sidecar sees it is critical: .*refused/, look);
  assertFailure(verdict.check('local_service'), new RegExp(`^127\\.0\\.0\\.1:${service.port}: .*refused`), look);
  assertFailure(verdict.check('call.inbound'), /UNAVAILABLE \(connect_failure\): /, look);
});

test('a service that says of itself that it does not serve', { skip }, async () => {
  assert.ok(mesh);
  const service = mesh.use(await startHealthService());
  service.serving = 2;
  await mesh.sidecar({ name: 'sad-svc', servicePort: service.port });
  await mesh.registered('sad-svc', 'critical');
  const verdict = await mesh.verify('sad-svc');
  assert.deepEqual(verdict.failed(), ['registration.health', 'call.inbound', 'local_service']);
  assertFailure(verdict.check('call.inbound'), /the service says NOT_SERVING$/, /^outrider stats --admin /);
});

test('an instance in maintenance, and one that somebody has registered by hand', { skip }, async () => {
  assert.ok(mesh);
  const sidecar = await mesh.sidecar({ name: 'mended-svc' });
  await mesh.registered('mended-svc');
  const id = `mended-svc-127.0.0.1-${sidecar.inboundPort}`;
  await mesh.consul.ask('PUT', `/agent/service/maintenance/${id}?enable=true&reason=new+disk`);
  const port = await freePort();
  await mesh.consul.register({ Name: 'hand-svc', ID: 'hand-1', Address: '127.0.0.1', Port: port });
  const verdict = await mesh.verify('mended-svc,hand-svc', ['--own-policies']);
  assertFailure(
    verdict.check('registration.health', 'mended-svc'),
    /in maintenance: new disk$/,
    new RegExp(`^curl -s -X PUT '.*/maintenance/${id}\\?enable=false'$`),
  );
  assert.equal(verdict.check('registration.meta', 'hand-svc').result, 'warning');
  assertFailure(
    verdict.check('port', 'hand-svc'),
    new RegExp(`^127\\.0\\.0\\.1:${port}: nobody listens there$`),
    /^outrider sidecar {2}# start it with SERVICE_NAME=hand-svc/,
  );
  for (const name of ['certificate', 'mtls', 'call.inbound', 'admin'])
    assert.equal(verdict.check(name, 'hand-svc').result, 'skipped', name);
});

test('a sidecar that was killed leaves its registration, and nobody at its ports', { skip }, async () => {
  assert.ok(mesh);
  const sidecar = await mesh.sidecar({ name: 'killed-svc', environment: { REGISTRATION_TTL: '60s' } });
  await mesh.registered('killed-svc');
  await sidecar[Symbol.asyncDispose]();
  const verdict = await mesh.verify('killed-svc');
  assert.deepEqual(verdict.failed(), ['port', 'admin']);
  assertFailure(verdict.check('admin'), /nobody listens there$/, /^outrider verify --admin killed-svc=<host:port> /);
});

test('an admin port that belongs to another sidecar', { skip }, async () => {
  assert.ok(mesh);
  const other = await mesh.sidecar({ name: 'first-svc' });
  await mesh.sidecar({ name: 'second-svc' });
  await Promise.all([mesh.registered('first-svc'), mesh.registered('second-svc')]);
  const verdict = await mesh.verify('second-svc', ['--admin', `second-svc=127.0.0.1:${other.adminPort}`]);
  assertFailure(verdict.check('admin'), /is the admin port of first-svc$/, /^outrider verify --admin second-svc=<host:port> /);
});

test('sidecars with different policies, and a change that was refused', { skip }, async () => {
  assert.ok(mesh);
  const same = clusterPolicy('one');
  const [one] = await Promise.all([
    mesh.sidecar({ name: 'same-a', policies: same }),
    mesh.sidecar({ name: 'same-b', policies: same }),
    mesh.sidecar({ name: 'other-c', policies: clusterPolicy('two') }),
  ]);
  await Promise.all(['same-a', 'same-b', 'other-c'].map((name) => mesh?.registered(name)));
  const together = await mesh.verify('same-a,same-b,other-c');
  assertFailure(
    together.check('policies.same'),
    /^same-a, same-b has [0-9a-f]{12}; other-c has [0-9a-f]{12}$/,
    /^curl -s -X POST http:\/\/127\.0\.0\.1:\d+\/reload /,
  );
  assert.equal((await mesh.verify('same-a,same-b')).check('policies.same').result, 'ok');
  assert.equal((await mesh.verify('same-a,same-b,other-c', ['--own-policies'])).check('policies.same').result, 'ok');

  const answer = await fetch(`http://127.0.0.1:${one.adminPort}/policies`, { headers: { connection: 'close' } });
  const { files } = JSON.parse(await answer.text()) as { files: { path: string }[] };
  writeFileSync(files[0]?.path ?? assert.fail('no file'), 'routes: [{ mach: { prefix: / } }]\n');
  const log = await one.logged('policies not reloaded, the last good ones stay in force', 1);
  assert.equal(log.length, 1);
  const refused = await mesh.verify('same-a');
  assertFailure(
    refused.check('policies'),
    /^the last change was refused, and the one before is in force: .*mesh\.yaml:1:\d+: /,
    /^outrider policy check <path> .*curl -s -X POST http:\/\/127\.0\.0\.1:\d+\/reload$/,
  );
});

test('instances of one service are told apart, also by admin ports that are named, and must have the same policies', { skip }, async () => {
  assert.ok(mesh);
  const [first, second] = await Promise.all([
    mesh.sidecar({ name: 'twin-svc', policies: clusterPolicy('one') }),
    mesh.sidecar({ name: 'twin-svc', policies: clusterPolicy('two') }),
  ]);
  await mesh.registered('twin-svc', 'passing', 2);
  const verdict = await mesh.verify('twin-svc', [
    '--own-policies',
    ...['--admin', `twin-svc=127.0.0.1:${second.adminPort}`],
    ...['--admin', `twin-svc=127.0.0.1:${first.adminPort}`],
  ]);
  assert.deepEqual(verdict.failed(), ['policies.same']);
  assertFailure(
    verdict.check('policies.same'),
    /^twin-svc at 127\.0\.0\.1:\d+ has [0-9a-f]{12}; twin-svc at 127\.0\.0\.1:\d+ has [0-9a-f]{12}$/,
    /\/reload /,
  );
  for (const { inboundPort, adminPort } of [first, second]) {
    const admin = verdict.checks.find(({ check, instance }) => check === 'admin' && instance === `twin-svc-127.0.0.1-${inboundPort}`);
    assert.match(admin?.detail ?? '', new RegExp(`^127\\.0\\.0\\.1:${adminPort}, Outrider `));
  }
});

test('a breaker that is held open, and a cluster without endpoints', { skip }, async () => {
  assert.ok(mesh);
  const sidecar = await mesh.sidecar({ name: 'broken-svc', policies: `${clusterPolicy('gone')}  empty-svc: {}\n` });
  await mesh.registered('broken-svc');
  await post(sidecar, '/clusters/gone/circuit_breakers/open?ttl=1h');
  const verdict = await mesh.verify('broken-svc');
  assertFailure(
    verdict.check('breakers'),
    /^gone OPEN, held until \d{4}-/,
    new RegExp(`^outrider breaker reset gone --admin 127\\.0\\.0\\.1:${sidecar.adminPort} {2}# `),
  );
  assertFailure(
    verdict.check('discovery'),
    /^empty-svc: Consul knows no passing instance .*, and there is no endpoint\)$/,
    /^outrider clusters --admin /,
  );
});

test('an endpoint that outlier detection has ejected', { skip }, async () => {
  assert.ok(mesh);
  const failing = mesh.use(await startHealthService());
  failing.status = 14;
  const callee = await mesh.sidecar({ name: 'failing-svc', servicePort: failing.port });
  const policies = `routes:
  - { name: all, match: { prefix: / }, route: { cluster: failing-svc, timeout: 5s } }
clusters:
  failing-svc:
    endpoints: ["127.0.0.1:${callee.inboundPort}"]
    outlier_detection: { consecutive_5xx: 2, base_ejection_time: 300s, max_ejection_percent: 100 }
`;
  const caller = await mesh.sidecar({ name: 'ejecting-svc', policies });
  await mesh.registered('ejecting-svc');
  for (let i = 0; i < 3; i++) {
    await callHealth(
      { host: '127.0.0.1', port: caller.outboundPort },
      { timeoutMs: 5_000, clock: new SystemClock(), authority: 'failing-svc' },
    );
  }
  const verdict = await mesh.verify('ejecting-svc');
  const { result, detail, remedy } = verdict.check('ejections');
  assert.equal(result, 'warning', detail);
  assert.match(detail, new RegExp(`^127\\.0\\.0\\.1:${callee.inboundPort} of failing-svc for `));
  assert.match(remedy ?? '', new RegExp(`^outrider clusters uneject failing-svc 127\\.0\\.0\\.1:${callee.inboundPort} --admin `));
  assertFailure(verdict.check('discovery'), /^no endpoint is healthy: failing-svc$/, /^outrider clusters --admin /);
});

test('a sidecar under overload', { skip }, async () => {
  assert.ok(mesh);
  const sidecar = await mesh.sidecar({ name: 'full-svc', environment: { MAX_MEMORY: '32Mi', REGISTRATION: 'off' } });
  const verdict = await mesh.verify('full-svc', ['--admin', `full-svc=127.0.0.1:${sidecar.adminPort}`, '--timeout', '2s']);
  assertFailure(
    verdict.check('overload'),
    /^acts against it: .*stop_accepting_requests/,
    /^outrider stats --admin \S+ --filter '\^overload' /,
  );
  assertFailure(
    verdict.check('ready'),
    /^is not ready: LIVE: the sidecar uses \d+ % of its memory limit/,
    /^curl -s http:\/\/127\.0\.0\.1:\d+\/ready$/,
  );
});

test('a service that lets in nobody but its callers is no failure of the mesh', { skip }, async () => {
  assert.ok(mesh);
  const policies = `inbound:
  access: { rules: [{ from: auth-svc, action: allow }] }
`;
  await mesh.sidecar({ name: 'closed-svc', policies });
  await mesh.registered('closed-svc');
  const verdict = await mesh.verify('closed-svc');
  assert.deepEqual(verdict.failed(), []);
  const { result, detail } = verdict.check('call.inbound');
  assert.equal(result, 'skipped');
  assert.match(detail, /PERMISSION_DENIED \(denied\): .*name another one with --cert$/);
});

test('a token that may not read the service', { skip }, async () => {
  await using guarded = await VerifiedMesh.start({
    configuration: { acl: { enabled: true, default_policy: 'deny', tokens: { initial_management: 'of-the-operator' } } },
    token: 'of-the-operator',
  });
  await guarded.consul.register({
    Name: 'secret-svc',
    ID: 'secret-1',
    Address: '127.0.0.1',
    Port: 9,
    Check: { TTL: '60s', Status: 'passing' },
  });
  const { SecretID } = (await guarded.consul.ask('PUT', '/acl/token', { Description: 'may do nothing' })) as { SecretID: string };
  const tokenFile = join(guarded.folder, 'token');
  writeFileSync(tokenFile, SecretID);
  const verdict = await guarded.verify('secret-svc', [], { CONSUL_HTTP_TOKEN_FILE: tokenFile });
  assertFailure(
    verdict.check('registration', 'secret-svc'),
    /^Consul shows nothing of it to this token$/,
    /^CONSUL_HTTP_TOKEN_FILE=<file> outrider verify /,
  );
});

test('a call through both sidecars that a breaker refuses says what to do', { skip }, async () => {
  assert.ok(mesh);
  const caller = await mesh.sidecar({ name: 'calling-svc' });
  await mesh.sidecar({ name: 'called-svc' });
  await Promise.all([mesh.registered('calling-svc'), mesh.registered('called-svc')]);
  const via = ['--via', `127.0.0.1:${caller.outboundPort}`];
  assert.equal((await mesh.verify('called-svc', via)).check('call.through_both').result, 'ok');
  await post(caller, '/clusters/called-svc/circuit_breakers/open');
  const verdict = await mesh.verify('called-svc', via);
  assert.deepEqual(verdict.failed(), ['call.through_both']);
  assertFailure(
    verdict.check('call.through_both'),
    /UNAVAILABLE \(circuit_open\): .*Circuit breaker OPEN/,
    /^outrider clusters --admin <of that sidecar> .*outrider breaker reset called-svc/,
  );
  const closed = await mesh.verify('called-svc', ['--via', `127.0.0.1:${await freePort()}`]);
  assertFailure(closed.check('call.through_both'), /nobody listens there$/, /^outrider verify --via 127\.0\.0\.1:15001 /);
});

test('a sidecar that drains', { skip }, async () => {
  assert.ok(mesh);
  const service = mesh.use(await startHealthService());
  const sidecar = await mesh.sidecar({ name: 'leaving-svc', servicePort: service.port, environment: { DRAIN_DELAY: '30s' } });
  await mesh.registered('leaving-svc');
  await post(sidecar, '/drain');
  await mesh.registered('leaving-svc', 'passing', 0);
  const verdict = await mesh.verify('leaving-svc', ['--admin', `leaving-svc=127.0.0.1:${sidecar.adminPort}`]);
  assertFailure(verdict.check('ready'), /^is draining: /, /^outrider sidecar {2}# start another one with SERVICE_NAME=leaving-svc/);
  assertFailure(verdict.check('registration'), /^is not in the catalogue$/, /outrider sidecar/);
});

/** Stands in front of a real admin port and puts another time into its answers: a machine whose clock is wrong cannot be had in a test. */
const startStandInWithWrongClock = async (adminPort: number, aheadMs: number) => {
  const server = createServer((incoming, answer) => {
    const outgoing = request(
      { port: adminPort, host: '127.0.0.1', path: incoming.url, method: incoming.method, headers: incoming.headers, agent: false },
      (real) => {
        answer.sendDate = false;
        answer.writeHead(real.statusCode ?? 502, { ...real.headers, date: new Date(Date.now() + aheadMs).toUTCString() });
        real.pipe(answer);
      },
    );
    outgoing.on('error', () => answer.destroy());
    outgoing.end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
};

test('a clock that is wrong, by a stand-in with a wrong Date header', { skip }, async () => {
  assert.ok(mesh);
  const sidecar = await mesh.sidecar({ name: 'late-svc' });
  await mesh.registered('late-svc');
  await using behind = await startStandInWithWrongClock(sidecar.adminPort, -90_000);
  await using ahead = await startStandInWithWrongClock(sidecar.adminPort, 3_600_000);
  const [late, early] = await Promise.all(
    [behind, ahead].map(({ port }) => mesh?.verify('late-svc', ['--admin', `late-svc=127.0.0.1:${port}`])),
  );
  assert.ok(late && early);
  assertFailure(late.check('clock', 'late-svc'), /^that of late-svc at 127\.0\.0\.1:\d+ is \S+ behind ours: /, /^timedatectl status /);
  assertFailure(early.check('clock', 'late-svc'), /^that of late-svc at 127\.0\.0\.1:\d+ is \S+ ahead of ours: /, /^timedatectl status /);
  assert.deepEqual(late.failed(), ['clock']);
});

test('Consul that does not answer', { skip }, async () => {
  assert.ok(mesh);
  const verdict = await mesh.verify('any-svc', ['--consul', `127.0.0.1:${await freePort()}`]);
  assert.equal(verdict.code, 1);
  assertFailure(verdict.check('consul'), /cannot be reached/, /^outrider verify --consul <host:port> /);
  assert.equal(verdict.check('registration', 'any-svc').result, 'skipped');
});

test('a machine that is out of reach is skipped, and holds up nobody', { skip }, async () => {
  assert.ok(mesh);
  // A name that exists nowhere (RFC 6761).
  await mesh.consul.register({
    Name: 'far-svc',
    ID: 'far-1',
    Address: 'far-svc.invalid',
    Port: 50051,
    Meta: { protocol: 'grpc', admin_port: '9901', trust_domain: 'mesh.local' },
    Check: { TTL: '60s', Status: 'passing' },
  });
  const verdict = await mesh.verify('far-svc', ['--timeout', '2s']);
  assert.deepEqual(verdict.failed(), [], JSON.stringify(verdict.checks, null, 1));
  for (const name of ['port', 'certificate', 'mtls', 'call.inbound', 'admin', 'metrics'])
    assert.equal(verdict.check(name, 'far-svc').result, 'skipped', name);
});

test('a listener that accepts and never says a word costs its time, and no more', { skip }, async () => {
  assert.ok(mesh);
  const tcp = createTcpServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1');
  await once(tcp, 'listening');
  const { port } = tcp.address() as AddressInfo;
  await mesh.consul.register({ Name: 'mute-svc', ID: 'mute-1', Address: '127.0.0.1', Port: port });
  const verdict = await mesh.verify('mute-svc', ['--timeout', '200ms']);
  assertFailure(
    verdict.check('certificate', 'mute-svc'),
    /^shows none: it does not answer the handshake$/,
    /^openssl s_client -connect 127\.0\.0\.1:\d+ /,
  );
  tcp.close();
});
