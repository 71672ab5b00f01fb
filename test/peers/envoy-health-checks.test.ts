/** The same health checks by Envoy and by Outrider: which answers put an endpoint out at once, and which count by `unhealthy_threshold`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { Caller } from '../mesh/caller.ts';
import { startSidecar } from '../mesh/mesh.ts';
import { type Upstream, until } from '../mesh/upstream.ts';
import { type HealthServer, startHealthServer } from '../upstream/health-server.ts';
import { type ComparedCluster, outriderPolicies, startEnvoy } from './envoy-process.ts';
import { peerProgram } from './peer-programs.ts';

checkLeaks();

const envoy = await peerProgram('envoy');

/** What becomes of a server that was well. */
const changes: Readonly<Record<string, (server: HealthServer) => void>> = {
  not_serving: (server) => {
    server.status = 'NOT_SERVING';
  },
  unknown: (server) => {
    server.status = 'UNKNOWN';
  },
  service_unknown: (server) => {
    server.status = 'SERVICE_UNKNOWN';
  },
  ...Object.fromEntries(
    (['UNIMPLEMENTED', 'NOT_FOUND', 'UNAVAILABLE', 'UNAUTHENTICATED', 'INTERNAL'] as const).map((name) => [
      `status_${name.toLowerCase()}`,
      (server: HealthServer) => {
        server.grpcStatus = GrpcStatus[name];
      },
    ]),
  ),
  http_503: (server) => {
    server.httpStatus = 503;
  },
  silent: (server) => {
    server.mute = true;
  },
};

// No number of lost answers is enough.
const keys =
  'health_checks: [{ timeout: 0.3s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 1000, healthy_threshold: 1, grpc_health_check: {} }]';

test('the same answers put an endpoint out at once, and the others need the threshold', { skip: envoy.skip }, async (t) => {
  const start = async () => {
    const pairs: Record<string, { readonly good: HealthServer; readonly sick: HealthServer }> = {};
    for (const name of Object.keys(changes)) {
      pairs[name] = { good: await startHealthServer(t), sick: await startHealthServer(t) };
      // Envoy knows nothing of Watch: both ask by Check.
      for (const server of Object.values(pairs[name])) server.watch = false;
    }
    const clusters = Object.entries(pairs).map(
      ([name, { good, sick }]): ComparedCluster => ({ name, keys, services: [good, sick] as unknown as readonly Upstream[] }),
    );
    return { pairs, clusters };
  };
  /** Whether the sick one still gets calls, by what has become of it. */
  const outcomes = async (client: Caller, { pairs }: Awaited<ReturnType<typeof start>>): Promise<Readonly<Record<string, string>>> => {
    const found: Record<string, string> = {};
    for (const [name, change] of Object.entries(changes)) {
      const { good, sick } = pairs[name] as (typeof pairs)[string];
      await until(() => good.checks.length >= 3 && sick.checks.length >= 3, 'checks of both');
      const call = async (): Promise<void> => assert.equal((await client.call({ path: `/${name}/Echo` })).status, 0, name);
      const both = (): boolean => good.calls > 0 && sick.calls > 0;
      for (let i = 0; i < 50 && !both(); i++) await call();
      assert.ok(both(), `${name}: both get calls at first`);
      change(sick);
      const asked = sick.checks.length;
      await until(() => sick.checks.length >= asked + 3, 'checks of the sick one');
      const before = sick.calls;
      for (let i = 0; i < 20; i++) await call();
      found[name] = sick.calls === before ? 'out' : 'in';
    }
    return found;
  };
  const [forEnvoy, forUs] = [await start(), await start()];
  const theirs = await outcomes(new Caller(t, await startEnvoy(t, envoy.path, forEnvoy.clusters)), forEnvoy);
  const outrider = await startSidecar(t, { policies: outriderPolicies(forUs.clusters) });
  const ours = await outcomes(outrider.caller(), forUs);
  assert.deepEqual(ours, theirs);
  assert.equal(theirs['not_serving'], 'out');
  assert.equal(theirs['silent'], 'in');
});
