import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../../src/core/index.ts';
import { ProcessStats, StatRegistry, type StatSink } from '../../src/telemetry/index.ts';

test('stats are collected when somebody looks, and sorted', () => {
  const registry = new StatRegistry();
  let calls = 1;
  registry.add({
    collectStats: (sink) => {
      sink.gauge('b', 7);
      sink.counter('a', calls);
    },
  });
  calls = 2;
  assert.deepEqual(registry.collect(), [
    { name: 'a', kind: 'counter', value: 2 },
    { name: 'b', kind: 'gauge', value: 7 },
  ]);
});

test('a name that two sources hand out is there once, with the sum', () => {
  const registry = new StatRegistry();
  for (const value of [1, 2]) registry.add({ collectStats: (sink) => sink.counter('x', value) });
  assert.deepEqual(registry.collect(), [{ name: 'x', kind: 'counter', value: 3 }]);
});

test('a source that was taken out is not asked any more', () => {
  const registry = new StatRegistry();
  const remove = registry.add({ collectStats: (sink) => sink.counter('x', 1) });
  remove();
  remove();
  assert.deepEqual(registry.collect(), []);
});

test('the lag of the event loop is seen while it lasts', () => {
  const clock = new VirtualClock();
  const stats = new ProcessStats(clock);
  clock.advance(400);
  assert.equal(stats.eventLoopLagMs, 0);
  clock.advance(60_000);
  assert.equal(stats.eventLoopLagMs, 0);
  assert.equal(stats.uptimeMs, 60_400);
  assert.equal(clock.pending, 1);
  stats.close();
  assert.equal(clock.pending, 0);
  clock.advance(3_000);
  assert.ok(stats.eventLoopLagMs > 2_000);
});

test('the process tells its memory and CPU', () => {
  const stats = new ProcessStats(new VirtualClock());
  const found = new Map<string, number>();
  const keep = (name: string, value: number) => found.set(name, value);
  stats.collectStats({ counter: keep, gauge: keep });
  assert.ok((found.get('server.memory_physical_size') ?? 0) > 1e6);
  assert.ok((found.get('server.cpu_seconds') ?? 0) > 0);
  stats.close();
});

test('what is collected in turns is the same, and other things happen meanwhile', async () => {
  const stats = new StatRegistry();
  const parts = Array.from({ length: 100 }, (_, part) => ({
    collectStats: (sink: StatSink) => {
      for (let i = 0; i < 100; i++) sink.counter(`part.${part}.${i}`, i);
    },
  }));
  stats.add({
    collectStats: (sink) => {
      for (const part of parts) part.collectStats(sink);
    },
    statParts: () => parts,
  });
  stats.add({ collectStats: (sink) => sink.counter('part.7.9', 1) });
  let turns = 0;
  let done = false;
  const collected = stats.collectInTurns().finally(() => {
    done = true;
  });
  while (!done) {
    await new Promise((resolve) => setImmediate(resolve));
    turns++;
  }
  const byName = (one: { readonly name: string }, other: { readonly name: string }) => (one.name < other.name ? -1 : 1);
  assert.deepEqual((await collected).sort(byName), stats.collect());
  assert.ok(turns >= 4);
});
