import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkLeaks } from '../harness/leak-check.ts';
import type { Answer, Caller } from './caller.ts';
import { throughOne } from './mesh.ts';
import { type Handler, message, type ReceivedCall, startUpstream, until } from './upstream.ts';

checkLeaks();

const grpc = { ':status': 200, 'content-type': 'application/grpc' };

/** Everything that a service may do with a call; each is chosen for every attempt anew. */
const behaviours: Readonly<Record<string, (call: ReceivedCall) => void>> = {
  echo: ({ stream }) => {
    stream.respond(grpc, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.pipe(stream);
  },
  trailersOnly: ({ stream }) => stream.respond({ ...grpc, 'grpc-status': '14' }, { endStream: true }),
  trailers: ({ stream }) => {
    stream.respond(grpc, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '14' }));
    stream.end();
  },
  lateTrailers: ({ stream }) => {
    stream.respond(grpc, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '14' }));
    setTimeout(() => stream.end(), 15);
  },
  halfAnswer: ({ stream }) => {
    stream.respond(grpc, { waitForTrailers: true });
    stream.write(message('half'));
    setImmediate(() => stream.close(2));
  },
  headersThenReset: ({ stream }) => {
    stream.respond(grpc, { waitForTrailers: true });
    setImmediate(() => stream.close(2));
  },
  noTrailers: ({ stream }) => {
    stream.respond(grpc);
    stream.end(message('no status'));
  },
  errorPage: ({ stream }) => {
    stream.respond({ ':status': 502, 'content-type': 'text/html' });
    stream.end('<h1>Bad Gateway</h1>');
  },
  refuse: ({ stream }) => stream.close(7),
  cancel: ({ stream }) => stream.close(8),
  pushback: ({ stream }) => stream.respond({ ...grpc, 'grpc-status': '14', 'grpc-retry-pushback-ms': '3' }, { endStream: true }),
  silence: () => {},
  goAway: ({ stream }) => stream.session?.goaway(0, Math.max((stream.id ?? 0) - 2, 0)),
  drain: (call) => {
    call.stream.session?.goaway(0, call.stream.id);
    behaviours['echo']?.(call);
  },
  lostConnection: ({ stream }) => stream.session?.destroy(),
};
const names = Object.keys(behaviours);

const kinds = ['whole', 'empty', 'streamed', 'cancelled', 'deadline', 'neverEnds'] as const;
interface Planned {
  readonly kind: (typeof kinds)[number];
  readonly bytes: number;
  readonly attempts: readonly number[];
}

const plannedCall = fc.record({
  kind: fc.constantFrom(...kinds),
  bytes: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 30_000, max: 200_000 })),
  attempts: fc.array(fc.integer({ min: 0, max: names.length - 1 }), { minLength: 4, maxLength: 4 }),
});

const handler: Handler = (call) => {
  const attempt = Number(call.headers['grpc-previous-rpc-attempts'] ?? 0);
  const plan = String(call.headers['x-plan']).split(',');
  behaviours[names[Number(plan[attempt])] ?? 'echo']?.(call);
};

const run = async (client: Caller, { kind, bytes, attempts }: Planned): Promise<void> => {
  const body = Buffer.alloc(bytes, bytes & 255);
  const headers: Record<string, string> = { 'x-plan': attempts.join() };
  if (kind === 'deadline') headers['grpc-timeout'] = '12m';
  const open = kind === 'streamed' || kind === 'cancelled' || kind === 'neverEnds';
  const call = client.start({ headers, bytes: kind === 'empty' ? Buffer.alloc(0) : body, open });
  if (kind === 'cancelled') setTimeout(() => call.cancel(), bytes % 12);
  if (kind === 'streamed') {
    call.stream.write(body);
    setImmediate(() => call.stream.end(body));
  }
  const answer: Answer = await call.answer;
  // Whatever happened: an answer that says OK is whole.
  if (answer.status !== 0) return;
  const sent = kind === 'empty' ? 0 : kind === 'streamed' ? 3 * bytes : bytes;
  assert.equal(answer.body.length, sent, `${kind} ${attempts.map((i) => names[i]).join()}`);
  assert.ok(answer.body.every((byte) => byte === (bytes & 255)));
};

test('whatever services and callers do, each call has one fate, an OK is whole, and nothing is left behind', async (t) => {
  const second = await startUpstream(t, handler);
  const { client, outrider } = await throughOne(t, handler, {
    alsoAt: [second.address],
    route:
      'timeout: 60ms\nretry_policy: { retry_on: "unavailable,reset,5xx,cancelled", num_retries: 3, per_try_timeout: 25ms, retry_back_off: { base_interval: 2ms } }',
    cluster: 'circuit_breakers: { consecutive_failures: 1000000, thresholds: [{ retry_budget: { budget_percent: 100 } }] }',
  });
  let calls = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(plannedCall, { minLength: 1, maxLength: 40 }), async (planned) => {
      calls += planned.length;
      await Promise.all(planned.map((plan) => run(client, plan)));
      const fates = (): number => Object.values(outrider.fates()).reduce((sum, count) => sum + count, 0);
      await until(() => fates() === calls, `${calls} fates, not ${fates()}`);
      await until(() => outrider.stat('server.buffered_bytes') === 0 && outrider.stat('server.replay_bytes') === 0, 'nothing kept');
      for (const gauge of ['upstream_rq_active', 'upstream_rq_pending_active'])
        assert.equal(outrider.stat(`cluster.echo.${gauge}`), 0, gauge);
      for (const { activeRequests } of outrider.sidecar.proxy.clusters.get('echo')?.endpoints ?? []) assert.equal(activeRequests, 0);
    }),
    { numRuns: 60 },
  );
  assert.ok(outrider.stat('cluster.echo.upstream_rq_retry') > 0);
});
