import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { runProgram, spawnProgram } from '../harness/program.ts';
import { peerProgram } from './peer-programs.ts';
import { type IdentityFiles, type Mesh, startMesh } from './sidecar-processes.ts';

checkLeaks();

const python = await peerProgram('python-grpc');
const scripts = join(import.meta.dirname, 'python', 'grpc');

/** Functions of echo_client.py, and what each proves. */
const cases = {
  one_answer: 'calls with one answer, also with empty messages',
  large: 'messages of 4 MB',
  compressed: 'messages that either side compresses',
  stream_of_answers: 'streams of answers',
  stream_of_requests: 'streams of requests',
  ping_pong: 'streams in which each waits for the other',
  metadata: 'metadata in both directions, repeated and binary',
  failure: 'a status with Unicode in its message and binary details',
  unknown_method: 'a method that the service does not have',
  deadline: 'the deadline of a stream, which the service hears of',
  cancellation: 'the cancellation of a stream, which the service hears of',
  many_at_once: '500 calls at once on one connection',
  asynchronous: "grpcio's asyncio client",
} as const;

const routes = `  - name: echo
    match: { prefix: /echo.Echo/ }
    route: { cluster: echo-svc, timeout: 30s, retry_policy: { retry_on: "unavailable,reset,connect-failure,refused-stream" } }
`;

describe('a client and a server in Python with two sidecars between them', { skip: python.skip }, () => {
  const owned = new AsyncDisposableStack();
  let mesh: Mesh;
  before(async () => {
    const server = owned.use(spawnProgram(python.path, [join(scripts, 'echo_server.py')]));
    const [port] = await server.waitFor(/^\d+$/m);
    mesh = owned.use(await startMesh({ 'echo-svc': Number(port) }, { routes }));
  });
  after(() => owned.disposeAsync());

  const run = async (name: string, address: string, authority: string, identity?: IdentityFiles): Promise<void> => {
    const files = identity === undefined ? [] : [identity.ca, identity.cert, identity.key];
    const { code, stderr } = await runProgram(python.path, [join(scripts, 'echo_client.py'), name, address, authority, ...files]);
    assert.equal(code, 0, `${name}: ${stderr.slice(-4000)}`);
  };

  for (const [name, meaning] of Object.entries(cases)) test(meaning, () => run(name, mesh.entrance, 'echo-svc'));

  test('with TLS to its own sidecar', async () => {
    for (const name of ['one_answer', 'ping_pong', 'cancellation', 'asynchronous'])
      await run(name, mesh.entrance, 'localhost', mesh.identity('caller-svc'));
  });

  test("with a certificate of the mesh, straight to the service's sidecar", async () => {
    const address = `127.0.0.1:${mesh.callee('echo-svc').inboundPort}`;
    for (const name of ['large', 'metadata', 'failure', 'many_at_once']) await run(name, address, 'echo-svc', mesh.identity('mesh-client'));
  });

  test('no call failed because of the mesh', async () => {
    for (const [sidecar, direction] of [
      [mesh.caller, 'outbound'],
      [mesh.callee('echo-svc'), 'inbound'],
    ] as const) {
      await sidecar.idleStats(direction);
      const fates = Object.keys(await sidecar.fates());
      assert.deepEqual(
        fates.filter((fate) => !/ (ok|app_error|cancelled|caller_deadline)$/.test(fate)),
        [],
      );
    }
  });

  test('both sidecars drain and end with 0', () => mesh.stop());
});
