/**
 * gRPC's interoperability cases with each of three implementations as client and as server: grpc-go, grpc-js and Python's, whose core is in
 * C; through the outbound side of a sidecar, the inbound one, and both with mTLS between them.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { runProgram, spawnProgram } from '../harness/program.ts';
import { goCases } from './interop/go-cases.ts';
import { clientCompressed, cases as grpcJsCases, gzip, openCaller } from './interop/grpc-js-client.ts';
import { startTestService } from './interop/grpc-js-service.ts';
import { peerProgram } from './peer-programs.ts';
import { type Mesh, startMesh, startOnFreePort } from './sidecar-processes.ts';

checkLeaks();

const goClient = await peerProgram('grpc-interop-client');
const goServer = await peerProgram('grpc-interop-server');
const python = await peerProgram('python-grpc');
const skip = goClient.skip || goServer.skip || python.skip;
const scripts = join(import.meta.dirname, 'python', 'grpc');

const programs = ['grpc-go', 'grpc-js', 'python'] as const;
type ProgramName = (typeof programs)[number];
const ways = ['outbound', 'inbound', 'both'] as const;
type Way = (typeof ways)[number];

const goSoak = ['-soak_iterations=12', '-soak_num_threads=2', '-soak_per_iteration_max_acceptable_latency_ms=10000'];
const goArguments: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(goCases.map((name) => [name, []])),
  rpc_soak: goSoak,
  channel_soak: goSoak,
};

/** The interop server of grpc-go has no gzip, and says so. */
const decompresses = (target: string): boolean => !target.startsWith('grpc-go');

/** Each runs all cases of its client against `address`, whose sidecar knows `target`, and returns how many there were. */
const clients: Readonly<Record<ProgramName, (address: string, target: string) => Promise<number>>> = {
  'grpc-go': async (address, target) => {
    const [host = '', port = ''] = address.split(':');
    for (const [name, more] of Object.entries(goArguments)) {
      const to = [`-server_host=${host}`, `-server_port=${port}`, `-additional_metadata=x-target:${target}`];
      const { code, stderr } = await runProgram(goClient.path, [`-test_case=${name}`, ...to, ...more]);
      assert.equal(code, 0, `${name}: ${stderr.slice(-2000)}`);
    }
    return Object.keys(goArguments).length;
  },
  'grpc-js': async (address, target) => {
    using caller = openCaller(address, target);
    for (const [name, run] of Object.entries(grpcJsCases)) {
      await run(caller).catch((error: unknown) => {
        throw new Error(`${name} failed`, { cause: error });
      });
    }
    const held = Object.keys(grpcJsCases).length;
    if (!decompresses(target)) return held;
    using compressing = openCaller(address, target, gzip);
    await clientCompressed(compressing);
    return held + 2;
  },
  python: async (address, target) => {
    const more = decompresses(target) ? ['compressed'] : [];
    const { code, stdout, stderr } = await runProgram(python.path, [join(scripts, 'interop_client.py'), address, target, ...more]);
    assert.equal(code, 0, stderr.slice(-4000));
    const held = stdout.match(/^ok /gm)?.length ?? 0;
    assert.equal(held, decompresses(target) ? 17 : 15, stdout);
    return held;
  },
};

const targetOf = (server: ProgramName, way: Way): string => `${server}-${way}`;

const routeTo = (server: ProgramName, way: Way): string => `  - name: ${targetOf(server, way)}
    match: { prefix: /, headers: [{ name: x-target, string_match: { exact: ${targetOf(server, way)} } }] }
    route: { cluster: ${way === 'both' ? server : `${server}-plain`}, retry_policy: { retry_on: "unavailable,reset,connect-failure", num_retries: 1 } }
`;

describe('gRPC through sidecars', { skip }, () => {
  const owned = new AsyncDisposableStack();
  let mesh: Mesh;
  let ran = 0;
  before(async () => {
    const go = owned.use(await startOnFreePort(goServer.path, (port) => [`-port=${port}`]));
    const js = owned.use(await startTestService());
    const py = owned.use(spawnProgram(python.path, [join(scripts, 'interop_server.py')]));
    const [pythonPort] = await py.waitFor(/^\d+$/m);
    const ports: Readonly<Record<ProgramName, number>> = { 'grpc-go': go.port, 'grpc-js': js.port, python: Number(pythonPort) };
    const plain = programs.map((name) => `  ${name}-plain: { endpoints: ["127.0.0.1:${ports[name]}"], tls: { mode: disable } }\n`);
    mesh = owned.use(
      await startMesh(ports, {
        routes: programs.flatMap((server) => [routeTo(server, 'outbound'), routeTo(server, 'both')]).join(''),
        moreClusters: plain.join(''),
        calleeEnvironment: { INBOUND_TLS: 'permissive' },
      }),
    );
  });
  after(() => owned.disposeAsync());

  const addressOf = (server: ProgramName, way: Way): string =>
    way === 'inbound' ? `127.0.0.1:${mesh.callee(server).inboundPort}` : mesh.entrance;

  for (const client of programs) {
    for (const server of programs) {
      for (const way of ways) {
        test(`a client of ${client} and a server of ${server}, way: ${way}`, async (t) => {
          const cases = await clients[client](addressOf(server, way), targetOf(server, way));
          ran++;
          t.diagnostic(`${cases} cases`);
        });
      }
    }
  }

  test('each call has ended in one fate, and none failed because of the mesh', async () => {
    assert.equal(ran, programs.length ** 2 * ways.length);
    for (const [sidecar, direction] of [
      [mesh.caller, 'outbound'],
      ...programs.map((name) => [mesh.callee(name), 'inbound'] as const),
    ] as const) {
      const stats = await sidecar.idleStats(direction);
      const fates = await sidecar.fates();
      const total = Object.values(fates).reduce((sum, count) => sum + count, 0);
      assert.ok(total > 0);
      assert.equal(total, stats.get(`listener.${direction}.downstream_rq_total`), JSON.stringify(fates));
      const open = [...stats].filter(([name, value]) => name.endsWith('http2.streams_active') && value > 0);
      assert.deepEqual(open, [], 'no stream is left open, on either side');
      assert.deepEqual(
        Object.keys(fates).filter((fate) => !/ (ok|app_error|cancelled|caller_deadline)$/.test(fate)),
        [],
        JSON.stringify(fates),
      );
    }
  });

  test('all sidecars drain and end with 0', () => mesh.stop());
});
