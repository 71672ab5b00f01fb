import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TimerWheel, VirtualClock } from '../../src/core/index.ts';
import { Engine } from '../../src/http2/index.ts';
import { ConcurrencyLimits, defaultThresholds } from '../../src/resilience/index.ts';
import { PendingCalls } from '../../src/upstream/pending-calls.ts';
import { StreamWaiter } from '../../src/upstream/stream-waiter.ts';
import { seededRandom } from '../harness/seeded-random.ts';

/** A call whose caller waits for a second. */
class QueuedCall extends StreamWaiter {
  readonly endsMs: number;

  constructor(nowMs: number) {
    super();
    this.endsMs = nowMs + 1_000;
  }

  onConnection(): void {}
  onUnavailable(): void {}
}

interface Outcome {
  readonly inTime: number;
  readonly late: number;
  readonly refused: number;
}

/** Twenty seconds of a server that answers a hundred calls a second, one after the other, and is offered `overload` times as many. */
const serve = (overload: number, maxPendingDurationMs: number | undefined): Outcome => {
  const clock = new VirtualClock();
  const engine = new Engine(clock, new TimerWheel(clock));
  const random = seededRandom(3);
  const limits = new ConcurrencyLimits({
    ...defaultThresholds,
    maxPendingRequests: 100_000,
    ...(maxPendingDurationMs === undefined ? {} : { maxPendingDurationMs }),
  });
  let [inTime, late, refused] = [0, 0, 0];
  const pending = new PendingCalls(limits, engine, () => {
    refused++;
  });
  const waiting: QueuedCall[] = [];
  let served: QueuedCall | undefined;
  let servedUntilMs = 0;
  for (let ms = 0; ms < 20_000; ms++) {
    clock.advance(1);
    const nowMs = clock.now();
    if (random() < overload / 10) {
      const call = new QueuedCall(nowMs);
      limits.pending.enter();
      pending.push(call, limits);
      waiting.push(call);
    }
    for (let first = waiting[0]; first !== undefined && first.endsMs <= nowMs; first = waiting[0]) {
      waiting.shift();
      if (first.waiterQueue?.remove(first) === true) limits.pending.leave();
    }
    if (served !== undefined && nowMs >= servedUntilMs) {
      if (nowMs <= served.endsMs) inTime++;
      else late++;
      served = undefined;
    }
    if (served === undefined) {
      served = pending.next() as QueuedCall | undefined;
      servedUntilMs = nowMs + 10;
    }
  }
  return { inTime, late, refused };
};

for (const overload of [1.5, 2, 4]) {
  test(`offered ${overload} times what it can do, a server with a limit on waiting answers nearly as much in time as it can do at all`, () => {
    const limited = serve(overload, 500);
    // A turn of the loop between two calls costs it a tenth.
    assert.ok(limited.inTime > 0.85 * 2_000, `${limited.inTime} in time`);
    assert.equal(limited.late, 0);
    assert.ok(limited.refused > 0);
    const endless = serve(overload, undefined);
    assert.ok(endless.late > limited.inTime / 4, `${endless.late} answers that nobody waits for any more`);
    assert.ok(limited.inTime > 1.3 * endless.inTime, `${limited.inTime} and ${endless.inTime}`);
  });
}

test('without an overload the limit changes nothing', () => {
  assert.deepEqual(serve(0.5, 500), serve(0.5, undefined));
});
