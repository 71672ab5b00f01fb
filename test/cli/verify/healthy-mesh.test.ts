import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { outwardAddresses } from '../../../src/cli/verify/address.ts';
import { checkLeaks } from '../../harness/leak-check.ts';
import { consulProgram, VerifiedMesh } from './verified-mesh.ts';

const { skip } = consulProgram;
let mesh: VerifiedMesh | undefined;
// Before the check for what is left over, which looks after it.
after(() => mesh?.[Symbol.asyncDispose]());
checkLeaks();
if (skip === false) mesh = await VerifiedMesh.start();

const policies = `routes:
  - name: learner
    match: { prefix: / }
    route: { cluster: learner-svc, timeout: 5s }
clusters:
  learner-svc: { consul: { service: learner-svc } }
`;

test('a mesh that is well has a tick for everything that can be looked at', { skip }, async () => {
  assert.ok(mesh);
  const [auth] = await Promise.all([
    mesh.sidecar({ name: 'auth-svc', policies, environment: { SERVICE_VERSION: '1.4.2' } }),
    mesh.sidecar({ name: 'learner-svc', policies }),
  ]);
  await Promise.all([mesh.registered('auth-svc'), mesh.registered('learner-svc')]);
  const verdict = await mesh.verify('auth-svc,learner-svc', ['--via', `127.0.0.1:${auth.outboundPort}`, '--timeout', '20s']);
  assert.deepEqual(
    verdict.checks.filter(({ result }) => result !== 'ok').map(({ check, result, detail }) => `${result} ${check}: ${detail}`),
    // A service on loopback is reached around its sidecar by another address, which not every machine has.
    Array.from({ length: 2 }, () => [
      ...(outwardAddresses().length > 0 ? [] : ['skipped local_service.bypass: this machine has no address beside its loopback']),
      'skipped metrics.scraped: name a Prometheus with --prometheus URL',
      'skipped trace: name a Jaeger with --jaeger URL',
    ]).flat(),
  );
  assert.equal(verdict.code, 0);
  assert.equal(verdict.ok, true);
  const names = (service: string | null): readonly string[] =>
    verdict.checks.filter((check) => check.service === service).map(({ check }) => check);
  assert.deepEqual(names(null), ['consul', 'clock', 'identity.chain', 'identity.dates', 'identity.authority', 'policies.same']);
  const perService = [
    ['registration.address', 'registration.health', 'registration.meta', 'port'],
    ['certificate.chain', 'certificate.dates', 'certificate.key', 'certificate.strength', 'certificate.names', 'certificate.purposes'],
    ['mtls.client', 'mtls.required', 'mtls.authority', 'mtls.plaintext', 'mtls.version', 'call.inbound', 'call.through_both'],
    ['admin', 'clock', 'ready', 'registration.agent', 'overload', 'local_service', 'policies', 'breakers', 'ejections', 'discovery'],
    ['local_service.bypass', 'metrics', 'metrics.scraped', 'trace'],
  ].flat();
  assert.deepEqual(names('auth-svc'), perService);
  assert.deepEqual(names('learner-svc'), perService);
  assert.match(verdict.check('policies.same').detail, /^2 sidecars, version [0-9a-f]{12}$/);
  assert.match(verdict.check('registration.meta', 'auth-svc').detail, /^admin port \d+, version 1\.4\.2$/);
  assert.match(verdict.check('certificate.dates', 'auth-svc').detail, /^until \d{4}-\d\d-\d\d \d\d:\d\d UTC, 36\d days left$/);
});

test('the report is grouped by service and aligned, without colours where nobody sees them', { skip }, async () => {
  assert.ok(mesh);
  // Without --services: whatever sidecars have registered.
  const { code, stdout, stderr } = await mesh.run([]);
  assert.equal(code, 0, stdout);
  assert.equal(stderr, '');
  assert.ok(!stdout.includes('\u001b'));
  const blocks = stdout.trimEnd().split('\n\n');
  assert.deepEqual(
    blocks.map((block) => block.split(/\s/)[0]),
    ['mesh', 'auth-svc', 'learner-svc', 'the'],
  );
  assert.match(blocks[1] ?? '', /^auth-svc {2}127\.0\.0\.1:\d+ {2}auth-svc-127\.0\.0\.1-\d+\n {2}✓ registration\.address {2}/);
  const columns = new Set(
    stdout
      .split('\n')
      .filter((line) => /^ {2}[✓!✗-] /.test(line))
      .map((line) => /^ {2}. \S+ +/.exec(line)?.[0].length),
  );
  assert.equal(columns.size, 1, stdout);
  assert.match(stdout, /\nthe mesh is well: \d+ ok, \d+ skipped in \d+\.\d s\n$/);
});

test('without Consul an admin port by hand is enough', { skip }, async () => {
  assert.ok(mesh);
  const lone = await mesh.sidecar({ name: 'lone-svc', environment: { REGISTRATION: 'off' } });
  const parameters = ['--consul', '127.0.0.1:1', '--admin', `lone-svc=127.0.0.1:${lone.adminPort}`];
  const verdict = await mesh.verify('lone-svc', parameters);
  assert.deepEqual(verdict.failed(), [], JSON.stringify(verdict.checks, null, 1));
  assert.equal(verdict.code, 0);
  assert.equal(verdict.check('consul').result, 'skipped');
  assert.match(verdict.check('registration', 'lone-svc').detail, /Consul does not answer/);
  assert.equal(verdict.check('call.inbound', 'lone-svc').detail, `127.0.0.1:${lone.inboundPort} answers SERVING`);
});

test('without a certificate of a client what needs one is left out, and says so', { skip }, async () => {
  assert.ok(mesh);
  const verdict = await mesh.verify('auth-svc', [], { CA_CERT_PATH: '', CLIENT_CERT_PATH: '', CLIENT_KEY_PATH: '' });
  assert.equal(verdict.code, 0);
  for (const name of ['identity', 'certificate.chain', 'mtls.client', 'mtls.version', 'call.inbound'])
    assert.equal(verdict.check(name).result, 'skipped', name);
  for (const name of ['certificate.names', 'mtls.required', 'mtls.authority', 'mtls.plaintext'])
    assert.equal(verdict.check(name).result, 'ok', name);
});

test('wrong usage is said with what to write, and ends with 2', { skip }, async () => {
  assert.ok(mesh);
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [['--services', 'auth svc'], /--services auth svc: expected names, separated by commas\nwrite --services auth-svc,learner-svc/],
    [['--admin', '127.0.0.1:9901'], /--admin 127\.0\.0\.1:9901: expected name=host:port\nwrite --admin auth-svc=127\.0\.0\.1:9901/],
    [['--services', 'a', '--admin', 'b=127.0.0.1:1'], /--admin b: no service of --services is called so\nwrite --services a,b/],
    [['--via', 'nowhere'], /--via nowhere: expected host:port\nwrite --via 127\.0\.0\.1:15001/],
    [['--jaeger', 'jaeger:16686'], /--jaeger jaeger:16686: expected a URL\nwrite --jaeger http:\/\/127\.0\.0\.1:16686/],
    [['--timeout', '5'], /--timeout 5: expected a duration with its unit/],
    [['--consul', 'ftp://x'], /CONSUL_HTTP_ADDR: "ftp:\/\/x" is not allowed/],
    [['--cert', '/nowhere/tls.crt'], /\/nowhere\/tls\.crt cannot be read: .*\nname the file with --cert/],
    [['--servces', 'a'], /unknown option '--servces'/],
  ];
  const results = await Promise.all(cases.map(([parameters]) => mesh.run(parameters)));
  for (const [i, { code, stdout, stderr }] of results.entries()) {
    assert.equal(code, 2, `${cases[i]?.[0].join(' ')}: ${stderr}`);
    assert.match(stderr, cases[i]?.[1] ?? /./);
    assert.equal(stdout, '');
  }
});
