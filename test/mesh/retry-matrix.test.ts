import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { VirtualClock } from '../../src/core/index.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import type { Answer, Caller } from './caller.ts';
import { startSidecar, virtualClock } from './mesh.ts';
import {
  backOff,
  type Expected,
  expectedOf,
  type FailureKind,
  failureKinds,
  type MatrixPolicy,
  type Mode,
  matrixPolicies,
  modes,
  requestEnds,
  retriableHeader,
  retriableStatusCode,
} from './retry-matrix.ts';
import { startUpstream } from './upstream.ts';

checkLeaks();

const tickMs = 4;
/** A wheel's tick, and the step of the clock that shows it. */
const slackMs = 3 * tickMs;
const batch = 300;

interface Cell {
  readonly kind: FailureKind;
  readonly policy: MatrixPolicy;
  readonly mode: Mode;
  readonly expected: Expected;
  readonly arrivalsMs: number[];
  answer: Answer | undefined;
}

const cells = (): readonly Cell[] =>
  failureKinds.flatMap((kind) =>
    matrixPolicies.flatMap((policy) =>
      modes.flatMap((mode) => {
        const expected = expectedOf(kind, policy, mode);
        return expected === undefined ? [] : [{ kind, policy, mode, expected, arrivalsMs: [], answer: undefined }];
      }),
    ),
  );

/** One route for each policy, by its service's name. */
const policiesText = (endpoint: string): string => `routes:
${matrixPolicies
  .map(({ name, words, numRetries, idempotent, perTryTimeoutMs }) => {
    const perTry = perTryTimeoutMs === 0 ? '' : `, per_try_timeout: ${perTryTimeoutMs}ms`;
    const retry =
      words === undefined
        ? ''
        : `, retry_policy: { retry_on: "${words.join(',')}", num_retries: ${numRetries}${perTry}, retriable_status_codes: [${retriableStatusCode}], retriable_headers: [{ name: ${retriableHeader} }], retry_back_off: { base_interval: ${backOff.baseMs}ms, max_interval: ${backOff.maxMs}ms } }`;
    return `  - match: { prefix: /${name}. }\n    route: { cluster: matrix, timeout: 0s, idempotent: ${idempotent}${retry} }`;
  })
  .join('\n')}
clusters:
  matrix:
    endpoints: ["${endpoint}"]
    tls: { mode: disable }
    circuit_breakers:
      consecutive_failures: 1000000
      thresholds: [{ max_retries: 100000, max_requests: 100000, max_pending_requests: 100000, retry_budget: { min_retry_concurrency: 100000 } }]
`;

/** Virtual time goes on only when everything that is under way on sockets has arrived. */
const settle = async (activity: () => number): Promise<void> => {
  let seen = activity();
  for (let quiet = 0; quiet < 6; ) {
    await new Promise((resolve) => setImmediate(resolve));
    const now = activity();
    quiet = now === seen ? quiet + 1 : 0;
    seen = now;
  }
};

const run = async (t: TestContext, all: readonly Cell[], start: (client: Caller, cell: Cell, index: number) => Promise<Answer>) => {
  const clock: VirtualClock = virtualClock();
  let activity = 0;
  const service = await startUpstream(t, (call, index) => {
    activity++;
    const cell = all[Number(call.headers['x-cell'])] as Cell;
    cell.arrivalsMs.push(clock.now());
    cell.kind.handler(call, index);
  });
  const outrider = await startSidecar(t, { clock, random: () => 0.5, policies: policiesText(service.address) });
  const client = outrider.caller();
  for (let from = 0; from < all.length; from += batch) {
    let left = 0;
    for (const [offset, cell] of all.slice(from, from + batch).entries()) {
      left++;
      void start(client, cell, from + offset).then((answer) => {
        activity++;
        left--;
        cell.answer = answer;
      });
    }
    await settle(() => activity);
    for (let steps = 0; left > 0; steps++) {
      assert.ok(steps < 1_000, `${left} calls do not end`);
      clock.advance(tickMs);
      await settle(() => activity);
    }
  }
  return outrider;
};

const problemOf = ({ answer, arrivalsMs, expected }: Cell): string | undefined => {
  const gaps = arrivalsMs.slice(1).map((atMs, i) => atMs - (arrivalsMs[i] as number));
  const said = `${arrivalsMs.length} attempts, status ${answer?.status}, ${answer?.reason}, after ${gaps.join(' ')}`;
  const meant = `${expected.attempts} attempts, status ${expected.status}, ${expected.reason}, after ${expected.delaysMs.join(' ')}`;
  const inTime = gaps.every((gapMs, i) => gapMs >= (expected.delaysMs[i] ?? 0) && gapMs <= (expected.delaysMs[i] ?? 0) + slackMs);
  const right =
    arrivalsMs.length === expected.attempts && answer?.status === expected.status && answer.reason === expected.reason && inTime;
  return right ? undefined : `${said}; expected ${meant}`;
};

const check = (all: readonly Cell[]): void => {
  const wrong = all.flatMap((cell) => {
    const problem = problemOf(cell);
    return problem === undefined ? [] : [`${cell.kind.name} x ${cell.policy.name} x ${cell.mode}: ${problem}`];
  });
  assert.deepEqual(wrong.slice(0, 20), [], `${wrong.length} of ${all.length} cells`);
};

for (const mode of modes) {
  test(`every kind of failure under every policy ends as it has to in calls of the kind ${mode}`, async (t) => {
    const all = cells().filter((cell) => cell.mode === mode);
    const outrider = await run(t, all, (client, { policy }, index) => {
      const options = { path: `/${policy.name}.Matrix/Call`, headers: { 'x-cell': String(index) }, body: 'one' };
      return client.start({ ...options, open: !requestEnds(mode) }).answer;
    });
    check(all);
    t.diagnostic(`${all.length} cells, ${all.reduce((sum, { arrivalsMs }) => sum + arrivalsMs.length, 0)} attempts`);
    assert.ok(all.length > 1_000);
    const fates = Object.values(outrider.fates()).reduce((sum, count) => sum + count, 0);
    assert.equal(fates, all.length);
  });
}
