import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { checkLeaks } from '../harness/leak-check.ts';
import { runProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { engineServer, refuseAll } from './engine-server.ts';
import { peerProgram } from './peer-programs.ts';
import { type IdentityFiles, initCertificates, type SidecarProcess, startSidecar } from './sidecar-processes.ts';

checkLeaks();

const h2spec = await peerProgram('h2spec');

/** All 145 cases, none failed and none skipped. */
const conforms = async (port: number, strict: boolean): Promise<void> => {
  const args = ['-h', '127.0.0.1', '-p', String(port), '-o', '2', ...(strict ? ['--strict'] : [])];
  const { stdout } = await runProgram(h2spec.path, args, { patienceMs: 120_000 });
  const [, passed, skipped, failed] =
    stdout
      .match(/(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed/)
      ?.slice(1)
      .map(Number) ?? [];
  assert.equal(failed, 0, stdout.slice(stdout.indexOf('Failures:')));
  assert.equal(skipped, 0, stdout);
  assert.ok((passed ?? 0) >= 145, stdout);
};

/**
 * Plain text on this side, TLS with a certificate on the other: h2spec can show none. An end or an abort goes through as it is, since
 * h2spec judges how a connection ends.
 */
const startShim = async (port: number, { ca, cert, key }: IdentityFiles): Promise<net.Server> => {
  const secrets = { ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) };
  const server = net.createServer((plain) => {
    const secured = tls.connect({
      port,
      host: '127.0.0.1',
      servername: 'auth-svc',
      ALPNProtocols: ['h2'],
      ...secrets,
    });
    for (const [from, to] of [
      [plain, secured],
      [secured, plain],
    ] as const) {
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroySoon());
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
};

for (const strict of [false, true]) {
  test(`h2spec${strict ? ' --strict' : ''} finds nothing to complain of in the engine`, { skip: h2spec.skip }, async (t) => {
    const server = await engineServer(t, refuseAll);
    await conforms(server.port, strict);
  });
}

describe('h2spec at the listeners of a sidecar', { skip: h2spec.skip }, () => {
  const owned = new AsyncDisposableStack();
  const folder = owned.adopt(temporaryFolder(), (temporary) => temporary[Symbol.dispose]());
  let sidecar: SidecarProcess;
  let shim: net.Server;
  before(async () => {
    const identity = await initCertificates(join(folder.path, 'certs'), ['auth-svc', 'learner-svc']);
    sidecar = owned.use(await startSidecar({ name: 'auth-svc', identity: identity('auth-svc') }));
    shim = await startShim(sidecar.inboundPort, identity('learner-svc'));
    owned.defer(() => void shim.close());
  });
  after(() => owned.disposeAsync());

  for (const strict of [false, true]) {
    const flag = strict ? ' --strict' : '';
    test(`${flag.trim() || 'as it is'}: nothing to complain of at the outbound listener`, () => conforms(sidecar.outboundPort, strict));
    test(`${flag.trim() || 'as it is'}: nothing to complain of at the inbound listener, behind mutual TLS`, () =>
      conforms((shim.address() as net.AddressInfo).port, strict));
  }

  test('not one of its requests reached a service, and the process ends well', async () => {
    const stats = await sidecar.idleStats('outbound');
    assert.ok((stats.get('listener.outbound.downstream_rq_total') ?? 0) > 100);
    assert.ok(((await sidecar.idleStats('inbound')).get('listener.inbound.downstream_rq_total') ?? 0) > 100);
    await sidecar.stop();
  });
});
