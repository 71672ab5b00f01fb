import assert from 'node:assert/strict';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { freePort } from '../harness/ports.ts';
import { outriderPath, runProgram, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

checkLeaks();

const healthcheckPath = join(outriderPath, '../healthcheck');
const poll = async <T>(what: string, ask: () => Promise<T | undefined>): Promise<T> => {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) throw new Error(`no sign of ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

const ready = async (adminPort: number): Promise<{ readonly status: number; readonly body: string } | undefined> => {
  try {
    const answer = await fetch(`http://127.0.0.1:${adminPort}/ready`, { headers: { connection: 'close' } });
    return { status: answer.status, body: await answer.text() };
  } catch {
    return undefined;
  }
};

/** Certificates of two services, and the environment of a sidecar of the first one. */
const mesh = async (path: string, wait: string) => {
  const { code, stderr } = await runProgram(outriderPath, ['certs', 'init', '--output-dir', path, 'auth-svc', 'learner-svc']);
  assert.equal(code, 0, stderr);
  const adminPort = await freePort();
  const files = { ca: join(path, 'ca/ca.crt'), cert: join(path, 'services/auth-svc.crt'), key: join(path, 'services/auth-svc-key.pem') };
  const env = {
    PATH: process.env['PATH'],
    SERVICE_NAME: 'auth-svc',
    GRPC_PORT: '0',
    OUTBOUND_PORT: '0',
    ADMIN_PORT: String(adminPort),
    CA_CERT_PATH: files.ca,
    CLIENT_CERT_PATH: files.cert,
    CLIENT_KEY_PATH: files.key,
    STARTUP_WAIT: wait,
  };
  return { env, files, adminPort };
};

test('missing files and a key of another certificate are waited for, /ready says which, and the start goes on once they are mended', async () => {
  using folder = temporaryFolder();
  const { env, files, adminPort } = await mesh(folder.path, '60s');
  const aside = join(folder.path, 'aside.pem');
  renameSync(files.key, aside);
  await using sidecar = spawnProgram(outriderPath, ['sidecar'], { env });
  const missing = await poll('an answer of /ready', () => ready(adminPort));
  assert.equal(missing.status, 503);
  assert.match(missing.body, /^PRE_INITIALIZING: waiting for files that are missing: .*auth-svc-key\.pem\n$/);
  assert.equal((await fetch(`http://127.0.0.1:${adminPort}/healthz`, { headers: { connection: 'close' } })).status, 200);
  const unhealthy = await runProgram(healthcheckPath, [], { env });
  assert.equal(unhealthy.code, 1);
  assert.match(unhealthy.stdout, /waiting for files that are missing/);

  copyFileSync(join(folder.path, 'services/learner-svc-key.pem'), files.key);
  await sidecar.waitFor(/"msg":"waiting for what is wrong to be mended","why":"CLIENT_KEY_PATH: [^"]*is not the key of the certificate/);
  const wrong = await poll('the page of the second reason', async () => {
    const answer = await ready(adminPort);
    return answer?.body.includes('is not the key') ? answer : undefined;
  });
  assert.equal(wrong.status, 503);
  assert.match(wrong.body, /; name the two files that were issued together\n$/);

  renameSync(aside, files.key);
  await sidecar.waitFor(/"msg":"ready"/);
  assert.equal((await ready(adminPort))?.status, 200);
  const healthy = await runProgram(healthcheckPath, [], { env });
  assert.deepEqual([healthy.code, healthy.stdout, healthy.stderr], [0, 'LIVE\n', '']);
  assert.equal((await sidecar.stop()).code, 0);
  // Told once, however often it was tried.
  assert.equal(sidecar.stderr.match(/is not the key/g)?.length, 1);
});

test('policies that are wrong at the start are waited for; when the wait is over the exit code is 2, with what is wrong', async () => {
  using folder = temporaryFolder();
  const { env } = await mesh(folder.path, '60s');
  const policies = join(folder.path, 'policies');
  mkdirSync(policies);
  writeFileSync(join(policies, 'mesh.yaml'), 'routs: []\n');
  await using sidecar = spawnProgram(outriderPath, ['sidecar'], { env: { ...env, POLICY_PATH: policies } });
  await sidecar.waitFor(/mesh\.yaml:1:1/);
  writeFileSync(join(policies, 'mesh.yaml'), 'routes: []\n');
  await sidecar.waitFor(/"msg":"ready"/);
  await sidecar.stop();

  writeFileSync(join(policies, 'mesh.yaml'), 'routs: []\n');
  const impatient = await runProgram(outriderPath, ['sidecar'], { env: { ...env, POLICY_PATH: policies, STARTUP_WAIT: '300ms' } });
  assert.equal(impatient.code, 2);
  assert.match(impatient.stderr, /error: policies are wrong\n.*mesh\.yaml:1:1/);
});

test('a port that another process still holds is waited for, and a signal ends the wait', async () => {
  using folder = temporaryFolder();
  const { env, adminPort } = await mesh(folder.path, '60s');
  const holder = createServer().listen(0, '0.0.0.0');
  await new Promise((resolve) => holder.once('listening', resolve));
  const { port } = holder.address() as { port: number };
  await using sidecar = spawnProgram(outriderPath, ['sidecar'], { env: { ...env, GRPC_PORT: String(port) } });
  await sidecar.waitFor(/inbound listener: port \d+ on 0\.0\.0\.0 is in use/);
  const answer = await poll('the page', () => ready(adminPort));
  assert.match(answer.body, /is in use; stop what listens there, or set GRPC_PORT to a free port/);
  await using interrupted = spawnProgram(outriderPath, ['sidecar'], {
    env: { ...env, ADMIN_PORT: String(await freePort()), GRPC_PORT: String(port) },
  });
  await interrupted.waitFor(/is in use/);
  assert.equal((await interrupted.stop()).code, 0);
  await new Promise((resolve) => holder.close(resolve));
  await sidecar.waitFor(/"msg":"ready"/);
  assert.equal((await sidecar.stop()).code, 0);
});

test('without a wait the start fails at once, and names permission where a folder may not be entered', async () => {
  using folder = temporaryFolder();
  const { env, files } = await mesh(folder.path, '0s');
  const closed = join(folder.path, 'private');
  mkdirSync(closed);
  const key = join(closed, 'service.key');
  writeFileSync(key, readFileSync(files.key));
  chmodSync(closed, 0o000);
  const uid = process.getuid?.() === 0 ? ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--inh-caps=-all'] : [];
  const [command = outriderPath, ...args] = [...uid, outriderPath, 'sidecar'];
  chmodSync(folder.path, 0o755);
  for (const inside of ['ca', 'services']) chmodSync(join(folder.path, inside), 0o755);
  chmodSync(files.ca, 0o644);
  chmodSync(files.cert, 0o644);
  const { code, stderr } = await runProgram(command, args, { env: { ...env, CLIENT_KEY_PATH: key } });
  chmodSync(closed, 0o700);
  assert.equal(code, 2, stderr);
  assert.match(stderr, /CLIENT_KEY_PATH: .*service\.key cannot be read: permission denied\nlet user \d+ read it/);
});

test('the health check says where nobody answers, and needs no bash', async () => {
  const port = String(await freePort());
  const withBash = await runProgram(healthcheckPath, [], {
    env: { PATH: process.env['PATH'], ADMIN_PORT: port, ADMIN_ADDRESS: '0.0.0.0' },
  });
  using folder = temporaryFolder();
  // A PATH on which there is Node and no bash, as in an image of Alpine.
  writeFileSync(join(folder.path, 'node'), `#!/bin/sh\nexec ${process.execPath} "$@"\n`, { mode: 0o755 });
  const withNode = await runProgram('/bin/sh', [healthcheckPath], { env: { PATH: folder.path, ADMIN_PORT: port } });
  for (const { code, stdout } of [withBash, withNode]) {
    assert.equal(code, 1);
    assert.equal(stdout, `nobody answers at 127.0.0.1:${port}; the log of the container says why\n`);
  }
});
