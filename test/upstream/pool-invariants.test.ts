import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { StreamWaiter } from '../../src/upstream/index.ts';
import { WaiterQueue } from '../../src/upstream/stream-waiter.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { addressOf, answer, backend, TestCall as Call, clusterOf, type TestCall, until } from './upstream-bench.ts';

checkLeaks();

class Node extends StreamWaiter {
  onConnection(): void {}
  onUnavailable(): void {}
}

test('a queue gives everybody in order, except for those who left', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ step: fc.constantFrom('push', 'shift', 'leave'), which: fc.nat() }), { maxLength: 200 }), (steps) => {
      const queue = new WaiterQueue();
      const model: Node[] = [];
      for (const { step, which } of steps) {
        if (step === 'push') {
          const node = new Node();
          queue.push(node);
          model.push(node);
        } else if (step === 'shift') assert.equal(queue.shift(), model.shift());
        else if (model.length > 0) {
          const [left] = model.splice(which % model.length, 1);
          assert.equal(queue.remove(left as Node), true);
          assert.equal(queue.remove(left as Node), false);
        }
        assert.equal(queue.length, model.length);
      }
      const rest = queue.takeAll();
      for (const node of model) assert.equal(rest.shift(), node);
      assert.equal(rest.shift(), undefined);
    }),
  );
});

test('whatever calls and servers do, every call is told once, and nothing stays counted', async (t) => {
  const server = await backend(t, { settings: { maxConcurrentStreams: 3 }, hold: true });
  const step = fc.constantFrom('call', 'call', 'call', 'cancel', 'answer', 'answer', 'goaway', 'lose', 'rejoin', 'turn', 'turn');
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const thresholds = { maxConnections: 2, maxPendingRequests: 8, maxRequests: 100, maxRetries: 3 };
      const { cluster, source } = clusterOf(t, [addressOf(server.port)], { thresholds });
      const calls: { readonly call: TestCall; cancelled: boolean }[] = [];
      const begin = (): void => {
        const endpoint = cluster.pickEndpoint();
        if (endpoint === undefined) return;
        const call = new Call(endpoint);
        const entry = { call, cancelled: false };
        calls.push(entry);
      };
      const cancelOne = (): void => {
        const waiting = calls.find(({ call, cancelled }) => !cancelled && call.waiter.waiterQueue !== undefined);
        if (waiting === undefined) return;
        waiting.cancelled = true;
        for (const endpoint of cluster.endpoints) endpoint.cancel(waiting.call.waiter);
      };
      for (const what of steps) {
        if (what === 'call') begin();
        else if (what === 'cancel') cancelOne();
        else if (what === 'answer') {
          const stream = server.held.shift();
          if (stream !== undefined && !stream.destroyed && !stream.closed) answer(stream);
        } else if (what === 'goaway') {
          const session = server.sessions.at(-1);
          if (session !== undefined && !session.destroyed) session.goaway(0);
        } else if (what === 'lose') server.sessions.at(-1)?.destroy();
        else if (what === 'rejoin') {
          source.become();
          source.become(addressOf(server.port));
        } else for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
        const waiting = cluster.endpoints.reduce((sum, endpoint) => sum + endpoint.waiting, 0);
        assert.equal(cluster.limits.pending.active, waiting);
        assert.ok(waiting <= 8);
      }
      const allDone = (): boolean => {
        for (const stream of server.held.splice(0)) if (!stream.destroyed && !stream.closed) answer(stream);
        return calls.every(({ call, cancelled }) => cancelled || call.waiter.error !== undefined || call.ending !== undefined);
      };
      await until(allDone, 'the end of every call');
      for (const { call, cancelled } of calls) {
        assert.equal(call.waiter.connection !== undefined && call.waiter.error !== undefined, false, 'a stream or an error, not both');
        if (cancelled) assert.equal(call.waiter.connection ?? call.waiter.error, undefined);
      }
      cluster.close();
      assert.equal(cluster.limits.pending.active, 0);
      assert.equal(cluster.limits.connections.active, 0);
    }),
    { numRuns: 40 },
  );
});
