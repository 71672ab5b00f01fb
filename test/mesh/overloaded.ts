import assert from 'node:assert/strict';
import type { VirtualClock } from '../../src/core/index.ts';
import type { Answer, Caller } from './caller.ts';
import type { TestSidecar } from './mesh.ts';

/** Time in which a turn of the event loop of an overloaded sidecar goes by, in milliseconds. */
const turnMs = 260;

/** More calls at once than a connection may have read in one round, while time passes for what waits. */
export const burst = async (clock: VirtualClock, client: Caller, path: string, count: number): Promise<readonly Answer[]> => {
  let over = false;
  const answers = Promise.all(Array.from({ length: count }, () => client.call({ path, headers: { 'x-padding': 'p'.repeat(400) } })));
  const ending = answers.finally(() => {
    over = true;
  });
  while (!over) {
    clock.advance(turnMs);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return await ending;
};

/** Calls `path` until a sidecar that has no time to spare refuses some. Returns all answers. */
export const callUntilShed = async (
  outrider: TestSidecar,
  clock: VirtualClock,
  client: Caller,
  path: string,
): Promise<readonly Answer[]> => {
  // The event loop of a test has other things to do, and says so only where it is measured in real time.
  Object.assign(outrider.sidecar.proxy.engine.turns, { isSaturated: () => true });
  const answers: Answer[] = [];
  while (outrider.stat('overload.shed_newest_requests.shed_load_count') === 0) {
    assert.ok(answers.length < 10_000, 'some are refused');
    answers.push(...(await burst(clock, client, path, 150)));
  }
  return answers;
};
