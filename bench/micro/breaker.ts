/**
 * What a breaker costs per attempt, and which way of keeping opossum's statistics is worth having.
 * Run: `node bench/micro/breaker.ts`. Nanoseconds per attempt, the best of five rounds.
 */
import { EventEmitter } from 'node:events';
import { performance } from 'node:perf_hooks';

const importStartedMs = performance.now();
const { default: CircuitBreaker } = await import('opossum');
const importMs = performance.now() - importStartedMs;
const { Breaker, RollingWindow } = await import('../../src/resilience/index.ts');

const rounds = 5;
const attempts = 500_000;
const opossumOptions = { rotateBucketController: new EventEmitter(), enableSnapshots: false, rollingPercentilesEnabled: false };

const report = (name: string, bestNs: number): void => {
  process.stdout.write(`${name.padEnd(52)} ${bestNs.toFixed(1).padStart(8)} ns\n`);
};

const measure = (name: string, run: () => void): void => {
  let bestNs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const startedMs = performance.now();
    run();
    bestNs = Math.min(bestNs, ((performance.now() - startedMs) * 1e6) / attempts);
  }
  report(name, bestNs);
};

process.stdout.write(`import of opossum: ${importMs.toFixed(1)} ms\n`);

const measureFire = async (): Promise<void> => {
  const circuit = new CircuitBreaker(() => Promise.resolve(1), { ...opossumOptions, timeout: false });
  let bestNs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const startedMs = performance.now();
    for (let i = 0; i < attempts; i++) await circuit.fire();
    bestNs = Math.min(bestNs, ((performance.now() - startedMs) * 1e6) / attempts);
    opossumOptions.rotateBucketController.emit('rotate');
  }
  report('opossum fire()', bestNs);
  circuit.shutdown();
};
await measureFire();

/** What `@types/opossum` leaves out. */
type Countable = ReturnType<typeof CircuitBreaker.newStatus> & { increment(property: string, latencyMs?: number): void };
const status = CircuitBreaker.newStatus(opossumOptions) as Countable;
measure('opossum Status.increment, fires and successes', () => {
  for (let i = 0; i < attempts; i++) {
    status.increment('fires');
    status.increment('successes', 3);
  }
  opossumOptions.rotateBucketController.emit('rotate');
});

const options = { consecutiveFailures: 5, recoveryTimeoutMs: 60_000 };
let nowMs = 0;
const withStatistics = new Breaker(options, new RollingWindow(0));
measure('Breaker, opossum fed once per turn', () => {
  for (let i = 0; i < attempts; i++) {
    nowMs += 0.03;
    withStatistics.succeed(withStatistics.tryEnter(nowMs), nowMs);
  }
});

const bare = new Breaker(options);
measure('Breaker without statistics', () => {
  for (let i = 0; i < attempts; i++) {
    nowMs += 0.03;
    bare.succeed(bare.tryEnter(nowMs), nowMs);
  }
});

const open = new Breaker(options, new RollingWindow(nowMs));
open.hold('OPEN', Number.POSITIVE_INFINITY, nowMs);
measure('Breaker that is open', () => {
  for (let i = 0; i < attempts; i++) open.tryEnter(nowMs);
});
