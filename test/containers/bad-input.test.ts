import assert from 'node:assert/strict';
import { chmodSync, chownSync, copyFileSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CertificateAuthority } from '../../src/identity/index.ts';
import { outriderPath, runProgram } from '../harness/program.ts';
import { type TemporaryFolder, temporaryFolder } from '../harness/temporary-folder.ts';
import { Container, docker, eventually, tryDocker, withoutEngine } from './docker.ts';

const network = `outrider-bad-input-${process.pid}`;
const files = { ca: 'certs/ca.crt', cert: 'certs/service.crt', key: 'private/service.key' };
const nodeUser = 1_000;
const somePolicy = 'routes: [{ match: { prefix: /a.B/ }, route: { cluster: b } }]\nclusters: { b: { endpoints: ["127.0.0.1:9"] } }\n';
const anotherMesh = () => ({ trustDomain: 'mesh.local', keyType: 'p256', nowMs: Date.now() }) as const;

/** Hardened as in deploy/compose, with a health check that asks often. */
const hardened = [
  '--read-only',
  '--cap-drop',
  'ALL',
  '--security-opt',
  'no-new-privileges',
  '--health-interval',
  '500ms',
  // Failures count from the first one; 0 would be the minute of the image.
  '--health-start-period',
  '1ms',
];

describe('a container that is given what is wrong says what to do, tells it in its health, and waits', { skip: withoutEngine }, () => {
  let certificates: TemporaryFolder;
  before(async () => {
    certificates = temporaryFolder();
    const { code, stderr } = await runProgram(outriderPath, [
      'certs',
      'init',
      '--output-dir',
      certificates.path,
      'auth-svc',
      'learner-svc',
    ]);
    assert.equal(code, 0, stderr);
    await docker('network', 'create', network);
  });
  after(async () => {
    await tryDocker('network', 'rm', network);
    certificates?.[Symbol.dispose]();
  });

  /** A folder to mount, with the certificates of auth-svc as the sidecar finds them. */
  const mounted = (): TemporaryFolder & { readonly put: (name: keyof typeof files, of?: string) => void } => {
    const folder = temporaryFolder();
    for (const name of ['certs', 'private', 'policies']) mkdirSync(join(folder.path, name));
    chmodSync(folder.path, 0o755);
    const put = (name: keyof typeof files, of = 'auth-svc'): void => {
      const from = { ca: 'ca/ca.crt', cert: `services/${of}.crt`, key: `services/${of}-key.pem` }[name];
      const to = join(folder.path, files[name]);
      copyFileSync(join(certificates.path, from), `${to}.new`);
      chownSync(`${to}.new`, nodeUser, nodeUser);
      renameSync(`${to}.new`, to);
    };
    return { path: folder.path, put, [Symbol.dispose]: () => folder[Symbol.dispose]() };
  };

  const sidecar = (
    folder: TemporaryFolder,
    environment: Readonly<Record<string, string>> = {},
    ...more: readonly string[]
  ): Promise<Container> => {
    const variables = {
      SERVICE_NAME: 'auth-svc',
      CA_CERT_PATH: '/etc/ssl/certs/ca.crt',
      CLIENT_CERT_PATH: '/etc/ssl/certs/service.crt',
      CLIENT_KEY_PATH: '/etc/ssl/private/service.key',
      POLICY_PATH: '/etc/outrider/policies',
      STARTUP_WAIT: '60s',
      ...environment,
    };
    const volumes = ['certs:/etc/ssl/certs', 'private:/etc/ssl/private', 'policies:/etc/outrider/policies'];
    return Container.run(
      ...hardened,
      ...(more.includes('--network') ? [] : ['--network', network]),
      ...more,
      ...volumes.flatMap((volume) => ['-v', `${join(folder.path, volume)}:ro`]),
      ...Object.entries(variables).flatMap(([name, value]) => ['-e', `${name}=${value}`]),
      'outrider',
    );
  };
  /** Where several files are put, in the order in which a careful job puts them. */
  const putAll = ({ put }: ReturnType<typeof mounted>): void => {
    for (const name of ['ca', 'key', 'cert'] as const) put(name);
  };

  test('certificates that are missing in the volume', async () => {
    using folder = mounted();
    await using container = await sidecar(folder);
    await container.said(
      /"msg":"waiting for files","missing":\["\/etc\/ssl\/certs\/ca\.crt","\/etc\/ssl\/certs\/service\.crt","\/etc\/ssl\/private\/service\.key"\]/,
    );
    await container.health('unhealthy', /waiting for files that are missing: \/etc\/ssl\/certs\/ca\.crt/);
    putAll(folder);
    await container.health('healthy', /^LIVE/);
  });

  test('a key that uid 1000 may not read, in a folder that it may not enter', async () => {
    using folder = mounted();
    putAll(folder);
    chmodSync(join(folder.path, 'private'), 0o700);
    await using container = await sidecar(folder);
    const [, remedy = ''] = await container.said(
      /"why":"CLIENT_KEY_PATH: \/etc\/ssl\/private\/service\.key cannot be read: permission denied","remedy":"([^"]*)"/,
    );
    assert.equal(remedy, 'let user 1000 read it (chown or chmod), or run the sidecar as its owner');
    await container.health('unhealthy', /permission denied; let user 1000 read it/);
    chmodSync(join(folder.path, 'private'), 0o755);
    await container.health('healthy');
  });

  test('the key of another certificate', async () => {
    using folder = mounted();
    putAll(folder);
    folder.put('key', 'learner-svc');
    await using container = await sidecar(folder);
    await container.said(
      /service\.key is not the key of the certificate in \/etc\/ssl\/certs\/service\.crt","remedy":"name the two files that were issued together"/,
    );
    await container.health('unhealthy', /is not the key of the certificate/);
    folder.put('key');
    await container.health('healthy');
  });

  test('a certificate of another service, and one of another authority', async () => {
    using folder = mounted();
    putAll(folder);
    writeFileSync(join(folder.path, 'policies/mesh.yaml'), somePolicy);
    for (const name of ['key', 'cert'] as const) folder.put(name, 'learner-svc');
    await using container = await sidecar(folder);
    await container.said(/"why":"our certificate is for learner-svc,[^"]*not for auth-svc","remedy":"issue one for auth-svc /);
    await container.health('healthy', /^LIVE, but our certificate is for learner-svc,.*; issue one for auth-svc/);
    putAll(folder);
    await container.health('healthy', /^LIVE\n$/);
    writeFileSync(join(folder.path, 'certs/ca.crt.new'), (await CertificateAuthority.create(anotherMesh())).authority.certPem);
    renameSync(join(folder.path, 'certs/ca.crt.new'), join(folder.path, 'certs/ca.crt'));
    await container.health(
      'healthy',
      /^LIVE, but our certificate was signed by another authority .*; compare the CA_CERT_PATH of both sides/,
    );
  });

  test('the wait has an end: then the container ends with 2 and what is missing', async () => {
    using folder = mounted();
    await using container = await sidecar(folder, { STARTUP_WAIT: '1s' });
    await eventually('the end', async () => (await container.inspect('{{.State.Status}}')) === 'exited');
    assert.equal(await container.inspect('{{.State.ExitCode}}'), '2');
    assert.match(
      await container.log(),
      /error: files of the configuration are missing after 1s:\n {2}CA_CERT_PATH: \/etc\/ssl\/certs\/ca\.crt: no such file or folder/,
    );
  });

  test('a Consul that is not there yet: calls are served meanwhile, and the service is registered once it comes', async () => {
    using folder = mounted();
    putAll(folder);
    writeFileSync(join(folder.path, 'policies/mesh.yaml'), somePolicy);
    await using container = await sidecar(folder, { CONSUL_HTTP_ADDR: 'consul:8500', LOCAL_SERVICE_HEALTH_INTERVAL: '0s' });
    await container.health('healthy');
    await container.said(/"msg":"not registered, trying again"[^\n]*correct CONSUL_HTTP_ADDR"/);
    await container.health('healthy', /^LIVE, but not registered: Consul at http:\/\/consul:8500 .*correct CONSUL_HTTP_ADDR/);
    await using consul = await Container.run(
      '--network',
      network,
      '--network-alias',
      'consul',
      'hashicorp/consul:1.20',
      'agent',
      '-dev',
      '-client',
      '0.0.0.0',
    );
    await container.said(/"msg":"registered","service":"auth-svc"/);
    await container.health('healthy', /^LIVE\n$/);
    await eventually('the registration', async () => {
      const { stdout } = await tryDocker('exec', consul.id, 'consul', 'catalog', 'services');
      return stdout.includes('auth-svc');
    });
  });

  test('hosts of Jaeger and StatsD that do not resolve hold up nothing', async () => {
    using folder = mounted();
    putAll(folder);
    await using container = await sidecar(folder, { JAEGER_HOST: 'jaeger.nowhere.invalid', METRICS_HOST: 'statsd.nowhere.invalid' });
    // Told before the first call, in the log and in the health.
    await container.said(/"msg":"spans could not be sent[^\n]*correct JAEGER_HOST"/);
    await container.said(/"msg":"METRICS_HOST cannot be found"[^\n]*correct METRICS_HOST"/);
    await container.health('healthy', /^LIVE, but .*correct JAEGER_HOST.*correct METRICS_HOST/);
    // Lookups that nobody answers take longer than Docker waits.
    await docker('stop', '--time', '6', container.id);
    assert.equal(await container.inspect('{{.State.ExitCode}}'), '0');
  });

  test('two sidecars on one port: the second says which, and takes it over when the first is gone', async () => {
    using folder = mounted();
    putAll(folder);
    await using pod = await Container.run('--network', network, '--entrypoint', 'sleep', 'outrider', 'infinity');
    await using first = await sidecar(folder, {}, '--network', `container:${pod.id}`);
    await first.health('healthy');
    await using second = await sidecar(folder, {}, '--network', `container:${pod.id}`);
    await second.said(
      /"why":"the admin address 127\.0\.0\.1:9901 is in use","remedy":"end the program that has it, or set ADMIN_PORT to a free port/,
    );
    await docker('stop', first.id);
    await second.said(/"msg":"ready"/);
  });

  test('a file that is mounted by itself is a warning: what an editor puts in its place would not be seen', async () => {
    using folder = mounted();
    putAll(folder);
    const file = join(folder.path, 'mesh.yaml');
    writeFileSync(file, somePolicy);
    await using container = await sidecar(folder, { POLICY_PATH: '/etc/mesh.yaml' }, '-v', `${file}:/etc/mesh.yaml:ro`);
    await container.said(
      /"why":"POLICY_PATH: \/etc\/mesh\.yaml is mounted as a single file: [^"]*","remedy":"mount the folder that holds it"/,
    );
    await container.health('healthy');
    assert.equal((await container.log()).split('mounted as a single file').length, 2, 'certificates lie in folders');
  });

  test('an empty folder of policies is a warning, and a file that comes is taken up', async () => {
    using folder = mounted();
    putAll(folder);
    await using container = await sidecar(folder);
    await container.health('healthy', /^LIVE, but \/etc\/outrider\/policies: warning: /);
    await container.said(/"level":"warning","msg":"policy warning","problem":"[^"]*\/etc\/outrider\/policies[^"]*"/);
    writeFileSync(join(folder.path, 'policies/mesh.yaml'), somePolicy);
    await container.said(/"msg":"policies (re)?loaded"[^\n]*"routes":1/);
  });
});
