import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { GrpcStatus } from '../../src/grpc/index.ts';
import { compilePolicies, formatProblem, loadPolicies } from '../../src/policy/index.ts';
import { RetryOn, statusBits } from '../../src/resilience/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from '../mesh/at-end.ts';
import { startSidecar } from '../mesh/mesh.ts';
import { answerOk, answerTrailersOnly, hold, startUpstream } from '../mesh/upstream.ts';

checkLeaks();

const retryPolicy = {
  maxAttempts: 3,
  initialBackoff: '0.01s',
  maxBackoff: '0.1s',
  backoffMultiplier: 1.5,
  retryableStatusCodes: ['UNAVAILABLE', 10],
};

const compileConfig = (config: unknown, yaml = '') => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  return compilePolicies([
    { path: 'a.service_config.json', bytes: bytes(JSON.stringify(config, null, 1)) },
    { path: 'p.yaml', bytes: bytes(yaml) },
  ]);
};
const problemsOf = (config: unknown): readonly string[] => compileConfig(config).problems.map(formatProblem);

test('a service config becomes routes: methods, then services, then what holds for all, behind those that are written', () => {
  const { table, problems } = compileConfig(
    {
      methodConfig: [
        { name: [{}], timeout: '10s' },
        { name: [{ service: 'acme.Ledger' }, { service: 'acme.Other', method: 'Put' }], timeout: '1.5s', retryPolicy },
        {
          name: [{ service: 'acme.Ledger', method: 'Get' }],
          hedgingPolicy: { maxAttempts: 4, hedgingDelay: '0.05s', nonFatalStatusCodes: [14] },
        },
      ],
      retryThrottling: { maxTokens: 10, tokenRatio: 0.1 },
    },
    'routes:\n  - match: { path: /acme.Ledger/Add }\n    route: { cluster: c, timeout: 1s }\nclusters: { c: { endpoints: ["h:1"] } }\n',
  );
  assert.deepEqual(problems, []);
  const found = (path: string) => table?.outbound.candidates(path)[0] ?? assert.fail();
  assert.deepEqual(
    table?.outbound.routes.map(({ match, cluster }) => [match, cluster]),
    [
      [{ kind: 'path', path: '/acme.Ledger/Add' }, 'c'],
      [{ kind: 'path', path: '/acme.Other/Put' }, ''],
      [{ kind: 'path', path: '/acme.Ledger/Get' }, ''],
      [{ kind: 'prefix', prefix: '/acme.Ledger/' }, ''],
      [{ kind: 'prefix', prefix: '' }, ''],
    ],
  );
  assert.deepEqual(found('/acme.Ledger/List').retry, {
    conditions: RetryOn.RESET,
    numRetries: 2,
    perTryTimeoutMs: 0,
    baseIntervalMs: 10,
    maxIntervalMs: 100,
    multiplier: 1.5,
    retriableStatusCodes: [],
    retriableGrpcStatuses: statusBits([14, 10]),
  });
  assert.deepEqual([found('/acme.Ledger/List').timeoutMs, found('/x.Y/Z').timeoutMs], [1_500, 10_000]);
  assert.deepEqual(found('/x.Y/Z').throttle, { maxTokens: 10, tokenRatio: 0.1 });
  const { hedge, idempotent } = found('/acme.Ledger/Get');
  assert.deepEqual([hedge?.maxAttempts, hedge?.hedgingDelayMs, hedge?.nonFatalStatuses, idempotent], [4, 50, statusBits([14]), true]);
});

for (const [what, config, expected] of [
  ['a key of nobody', { methodConfig: [], retries: 1 }, /a\.service_config\.json:3:2: retries: unknown key/],
  ['no method config', {}, /methodConfig is missing/],
  ['waitForReady', { methodConfig: [{ name: [{}], waitForReady: true }] }, /warning: methodConfig\[0\]\.waitForReady: has no effect/],
  [
    'a balancer',
    { methodConfig: [], loadBalancingConfig: [{ pick_first: {} }] },
    /warning: loadBalancingConfig: has no effect; write it on the cluster/,
  ],
  ['a method without a service', { methodConfig: [{ name: [{ method: 'Get' }] }] }, /has a method and no service; add "service"/],
  ['a name twice', { methodConfig: [{ name: [{ service: 'a' }] }, { name: [{ service: 'a' }] }] }, /\/a\/ is written twice; keep one/],
  [
    'more attempts than gRPC makes',
    { methodConfig: [{ name: [{}], retryPolicy: { ...retryPolicy, maxAttempts: 9 } }] },
    /warning: .*maxAttempts: is taken as 5/,
  ],
  [
    'both policies',
    { methodConfig: [{ name: [{}], retryPolicy, hedgingPolicy: { maxAttempts: 2 } }] },
    /hedgingPolicy: stands beside retryPolicy/,
  ],
  [
    'a status that is none',
    { methodConfig: [{ name: [{}], retryPolicy: { ...retryPolicy, retryableStatusCodes: [0] } }] },
    /retryableStatusCodes\[0\]: is the number 0/,
  ],
  [
    'no attempt beyond the first',
    { methodConfig: [{ name: [{}], retryPolicy: { ...retryPolicy, maxAttempts: 1 } }] },
    /maxAttempts: is the number 1; write a whole number/,
  ],
] as const) {
  test(`${what} in a service config is told with place and remedy`, () => {
    assert.match(problemsOf(config).join('\n'), expected);
  });
}

const sidecarWith = async (t: TestContext, config: unknown, endpoint: string) => {
  const folder = temporaryFolder();
  atEnd(t, () => folder[Symbol.dispose]());
  writeFileSync(join(folder.path, 'echo.service_config.json'), JSON.stringify(config));
  writeFileSync(join(folder.path, 'p.yaml'), `clusters: { echo: { endpoints: ["${endpoint}"], tls: { mode: disable } } }\n`);
  assert.deepEqual(loadPolicies([folder.path]).problems, []);
  return await startSidecar(t, { random: () => 0, environment: { POLICY_PATH: folder.path } });
};

test('calls go to the cluster that the authority names, and are tried again as the service config says', async (t) => {
  const service = await startUpstream(t, (call, index) => (index < 2 ? answerTrailersOnly(call, GrpcStatus.ABORTED) : answerOk(call)));
  const { caller } = await sidecarWith(
    t,
    { methodConfig: [{ name: [{ service: 'acme.Echo' }], timeout: '30s', retryPolicy }] },
    service.address,
  );
  const client = caller();
  assert.equal((await client.call()).status, GrpcStatus.OK);
  assert.equal(service.received.length, 3);
  assert.match(String(service.received[0]?.headers['grpc-timeout']), /^(30000000u|29\d{6}u)$/);
  assert.equal((await client.call({ authority: 'nobody' })).reason, 'no_route');
});

test('a hedging policy of a service config hedges', async (t) => {
  const service = await startUpstream(t, (call, index) => (index === 0 ? hold(call, index) : answerOk(call)));
  const { caller } = await sidecarWith(t, { methodConfig: [{ name: [{}], hedgingPolicy: { maxAttempts: 2 } }] }, service.address);
  assert.equal((await caller().call()).status, GrpcStatus.OK);
  assert.equal(service.received.length, 2);
});

test('retryThrottling stops retries where failures outweigh successes, until there are successes again', async (t) => {
  let fails = true;
  const service = await startUpstream(t, (call) => (fails ? answerTrailersOnly(call, 14) : answerOk(call)));
  const config = { methodConfig: [{ name: [{}], retryPolicy }], retryThrottling: { maxTokens: 4, tokenRatio: 1 } };
  const { caller } = await sidecarWith(t, config, service.address);
  const client = caller();
  const attemptsOf = async (): Promise<number> => {
    const before = service.received.length;
    await client.call();
    return service.received.length - before;
  };
  // 4 tokens: one failure leaves 3, the second one leaves half.
  assert.deepEqual([await attemptsOf(), await attemptsOf()], [2, 1]);
  fails = false;
  for (let i = 0; i < 4; i++) assert.equal(await attemptsOf(), 1);
  fails = true;
  assert.equal(await attemptsOf(), 2);
});
