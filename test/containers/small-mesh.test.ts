import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type ProgramExit, runProgram } from '../harness/program.ts';
import { ask, ComposeMesh } from './compose-mesh.ts';
import { docker, eventually, tryDocker, withoutEngine } from './docker.ts';
import { standInOf } from './images.ts';

describe('the small mesh of deploy/compose: three services, their sidecars, Consul', { skip: withoutEngine }, () => {
  let mesh: ComposeMesh;
  before(async () => {
    mesh = await ComposeMesh.start();
  });
  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
  });
  const policyFile = (): string => join(mesh.folder, 'policies/mesh.yaml');

  test('a call from this machine goes through both sidecars, which found each other in Consul', async (t) => {
    const standIn = await standInOf('hashicorp/consul:1.20');
    if (standIn !== undefined) t.diagnostic(`stand-in for the image of Consul: ${standIn}`);
    const reply = await eventually('a profile', async () => {
      const answer = await mesh.authenticate();
      return answer.withoutProfile ? undefined : answer;
    });
    assert.equal(reply.displayName, 'Learner ada');
    const stats = await ask(mesh.port('AUTH_ADMIN_PORT'), '/stats?filter=learner-svc.upstream_rq_total');
    assert.match(stats, /cluster\.learner-svc\.upstream_rq_total: [1-9]/);
    const instances = JSON.parse(await ask(mesh.port('CONSUL_PORT'), '/v1/health/service/learner-svc?passing=1')) as readonly unknown[];
    assert.equal(instances.length, 1);
  });

  test('plain text is refused, and TLS without a certificate of the mesh is', async () => {
    const ends = (session: http2.ClientHttp2Session): Promise<string> =>
      new Promise((resolve) => {
        session.on('error', (error) => resolve(error.message));
        session.on('close', () => resolve('closed'));
        const stream = session.request({
          ':method': 'POST',
          ':path': '/auth.AuthService/Authenticate',
          'content-type': 'application/grpc',
        });
        stream.on('error', () => {});
        stream.on('response', (headers) => {
          session.destroy();
          resolve(`answered ${headers[':status']} ${headers['grpc-status']}`);
        });
        stream.end();
      });
    const port = mesh.port('AUTH_GRPC_PORT');
    assert.doesNotMatch(await ends(http2.connect(`http://127.0.0.1:${port}`)), /answered/);
    const { ca } = await mesh.clientCertificate();
    assert.doesNotMatch(await ends(http2.connect(`https://127.0.0.1:${port}`, { ca, servername: 'auth-svc' })), /answered/);
    const stats = await ask(mesh.port('AUTH_ADMIN_PORT'), '/stats?filter=listener.inbound.ssl.fail_verify_no_cert');
    assert.match(stats, /fail_verify_no_cert: 1\n/);
  });

  test('a service cannot be reached but through its sidecar: not from another container, not from the machine', async () => {
    const connect = (host: string, port: number): Promise<boolean> =>
      tryDocker(
        'run',
        '--rm',
        '--network',
        `${mesh.project}_mesh`,
        '--entrypoint',
        'bash',
        'outrider',
        '-c',
        `exec 3<>/dev/tcp/${host}/${port}`,
      ).then(({ code }) => code === 0);
    for (const service of ['auth-svc', 'learner-svc', 'event-collector-svc']) {
      assert.equal(await connect(service, 50_051), true, `the sidecar of ${service}`);
      assert.equal(await connect(service, 8_080), false, service);
      assert.equal(await connect(service, 15_001), false, `the outbound listener of ${service}`);
      const address = await mesh.inspect(`${service}-pod`, '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}');
      const { code } = await runProgram('timeout', ['5', 'bash', '-c', `exec 3<>/dev/tcp/${address}/8080`]);
      assert.notEqual(code, 0, `${service} from the machine`);
      assert.equal(await mesh.inspect(service, '{{json .HostConfig.PortBindings}}'), '{}');
    }
  });

  test('sidecars run without root, capabilities, new privileges and a file system to write to, as process 1, and leave no zombie', async () => {
    const status = await mesh.compose('exec', '-T', 'auth-svc-sidecar', 'cat', '/proc/1/status');
    assert.match(status, /^Name:\s+(node|MainThread|node-MainThread)$/m);
    assert.match(status, /^Uid:\s+1000\s/m);
    assert.match(status, /^CapEff:\s+0+$/m);
    assert.match(status, /^CapBnd:\s+0+$/m);
    assert.match(status, /^NoNewPrivs:\s+1$/m);
    const write = await mesh.tryCompose('exec', '-T', 'auth-svc-sidecar', 'sh', '-c', 'touch /opt/outrider/x || touch /tmp/x');
    assert.match(write.stderr, /Read-only file system/);
    assert.equal(await mesh.inspect('auth-svc-sidecar', '{{.HostConfig.Memory}}'), String(128 * 2 ** 20));
    const states = await mesh.compose('exec', '-T', 'auth-svc-sidecar', 'sh', '-c', 'cat /proc/[0-9]*/stat | cut -d" " -f3');
    assert.doesNotMatch(states, /Z/);
    // Keys of other services are not in its file system.
    const files = await mesh.compose(
      'exec',
      '-T',
      'auth-svc-sidecar',
      'find',
      '/etc/ssl/certs',
      '/etc/ssl/private',
      '/etc/outrider',
      '-type',
      'f',
    );
    assert.deepEqual(files.split('\n').sort(), [
      '/etc/outrider/policies/mesh.yaml',
      '/etc/ssl/certs/ca.crt',
      '/etc/ssl/certs/service.crt',
      '/etc/ssl/private/service.key',
    ]);
  });

  test("a policy saved on this machine in any editor's way is in force in the container", async () => {
    let seconds = 20;
    /** Each has a time limit of its own, which /routes shows. */
    const takesEffect = async (how: string, save: (path: string, text: string) => unknown): Promise<void> => {
      seconds++;
      const text = readFileSync(policyFile(), 'utf8').replace(/^( {6}timeout: )\d+s$/m, `$1${seconds}s`);
      await save(policyFile(), text);
      await eventually(
        `the policy saved by ${how}`,
        async () => (await ask(mesh.port('AUTH_ADMIN_PORT'), '/routes')).includes(`${seconds}s`),
        {
          withinMs: 15_000,
          describe: () => mesh.log('auth-svc-sidecar'),
        },
      );
    };
    await takesEffect('writing in place', (path, text) => writeFileSync(path, text));
    await takesEffect('a new file moved into place', (path, text) => {
      writeFileSync(`${path}.tmp`, text);
      renameSync(`${path}.tmp`, path);
    });
    await takesEffect('a backup and a new file, as vim does', (path, text) => {
      renameSync(path, `${path}~`);
      writeFileSync(path, text);
      rmSync(`${path}~`);
    });
    await takesEffect('deleting and writing anew', (path, text) => {
      rmSync(path);
      writeFileSync(path, text);
    });
    await takesEffect('sed -i', (path) =>
      runProgram('sed', ['-i', `s/^      timeout: ${seconds - 1}s$/      timeout: ${seconds}s/`, path]),
    );
  });

  test('a wrong policy is logged with its place, the last good one stays, and mended it is in force', async () => {
    const good = readFileSync(policyFile(), 'utf8');
    appendFileSync(policyFile(), 'routs: []\n');
    const line = good.split('\n').length;
    await mesh.said('auth-svc-sidecar', new RegExp(`/etc/outrider/policies/mesh\\.yaml:${line}:1: [^"]*routs`));
    assert.equal((await mesh.authenticate()).withoutProfile, false);
    writeFileSync(policyFile(), good.replace('num_retries: 2', 'num_retries: 1'));
    await eventually('the mended policy', async () => {
      const records = JSON.parse(await ask(mesh.port('AUTH_ADMIN_PORT'), '/policies')) as {
        readonly reloads?: readonly { readonly ok: boolean }[];
      };
      return (
        (await mesh.log('auth-svc-sidecar')).match(/routs[\s\S]*"msg":"policies (re)?loaded"/) !== null ||
        records.reloads?.at(-1)?.ok === true
      );
    });
  });

  test('certificates are renewed without a restart', async () => {
    const before = await ask(mesh.port('LEARNER_ADMIN_PORT'), '/certs');
    await mesh.compose('run', '--rm', '-T', 'certificates');
    await mesh.said('learner-svc-sidecar', /"msg":"certificates reloaded"/);
    assert.notEqual(await ask(mesh.port('LEARNER_ADMIN_PORT'), '/certs'), before);
    await mesh.said('auth-svc-sidecar', /"msg":"certificates reloaded"/);
    assert.equal((await mesh.authenticate()).withoutProfile, false);
  });

  test('a sidecar that is stopped drains and ends with 0, and either of a service and its sidecar comes back beside the other', async (t) => {
    await mesh.compose('stop', 'learner-svc-sidecar');
    assert.equal(await mesh.inspect('learner-svc-sidecar', '{{.State.ExitCode}}'), '0');
    assert.match(await mesh.log('learner-svc-sidecar'), /"msg":"stopped"/);
    assert.equal((await mesh.authenticate()).withoutProfile, true);
    await mesh.compose('start', 'learner-svc-sidecar');
    // What fails meanwhile opens the breaker of the endpoint, which would probe it a minute later.
    const withProfile = async (): Promise<boolean> => {
      await mesh.compose('exec', '-T', 'auth-svc-sidecar', 'outrider', 'breaker', 'reset', 'learner-svc');
      return !(await mesh.authenticate()).withoutProfile;
    };
    await eventually('calls after the sidecar came back', withProfile, { describe: () => mesh.log('auth-svc-sidecar') });
    await mesh.compose('restart', '--timeout', '2', 'learner-svc');
    await eventually('calls after the service came back', withProfile, { describe: () => mesh.log('auth-svc-sidecar') });

    const [started] = (await mesh.inspect('learner-svc-sidecar', '{{.State.StartedAt}}')).split('\n');
    const [, time] = (await mesh.log('learner-svc-sidecar')).match(/.*"time":"([^"]+)"[^\n]*"msg":"ready"/s) ?? [];
    t.diagnostic(`from the start of the container to ready: ${Date.parse(time ?? '') - Date.parse(started ?? '')} ms`);
  });

  test('the image adds at most 60 MB to its base, prints help, and checks policies of a mounted folder', async (t) => {
    const sizes = await docker(
      'image',
      'inspect',
      '--format',
      '{{.Size}}',
      'outrider',
      process.env['NODE_IMAGE'] ?? 'node:26-bookworm-slim',
    );
    const [ours = 0, base = 0] = sizes.split('\n').map(Number);
    t.diagnostic(`the image adds ${((ours - base) / 1e6).toFixed(1)} MB to a base of ${(base / 1e6).toFixed(0)} MB`);
    assert.ok(ours - base <= 60e6, `${ours - base} bytes`);
    assert.match(await docker('run', '--rm', '--read-only', '--cap-drop', 'ALL', 'outrider', '--help'), /^Usage: outrider/);
    const check = (): Promise<ProgramExit> =>
      tryDocker('run', '--rm', '-v', `${join(mesh.folder, 'policies')}:/p:ro`, 'outrider', 'policy', 'check', '/p');
    assert.equal((await check()).code, 0);
    const good = readFileSync(policyFile(), 'utf8');
    writeFileSync(policyFile(), good.replace('retry_policy', 'retry_polcy'));
    const wrong = await check();
    writeFileSync(policyFile(), good);
    assert.equal(wrong.code, 2);
    assert.match(`${wrong.stdout}${wrong.stderr}`, /\/p\/mesh\.yaml:\d+:\d+: .*retry_polcy/);
  });
});
