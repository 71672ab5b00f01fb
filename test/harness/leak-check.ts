import assert from 'node:assert/strict';
import { after } from 'node:test';

export interface LeakCheckOptions {
  /** How long something that is closing may take to be gone: a limit for a failure, not a pause. 5 s by default. */
  readonly patienceMs?: number;
}

const countByKind = (): Map<string, number> => {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
};

/** Sockets, servers, timers, watchers and child processes that keep the process alive now and did not at `before`. */
const leftovers = (before: ReadonlyMap<string, number>): readonly string[] =>
  [...countByKind()]
    // What runs in the moment of looking (a pending close, this loop's own turn) is no leak.
    .filter(
      ([kind, count]) => !/^(Immediate|CloseReq|.*ReqWrap|.*Req|FSReqCallback|FSReqPromise)$/.test(kind) && count > (before.get(kind) ?? 0),
    )
    .map(([kind, count]) => `${count - (before.get(kind) ?? 0)} x ${kind}`);

/**
 * Called at the top of a test file: fails the file when, after its last test, sockets, servers, timers, watchers or child processes are left
 * that were not there before. Timers and sockets that were unreferenced on purpose are not seen.
 */
export const checkLeaks = ({ patienceMs = 5_000 }: LeakCheckOptions = {}): void => {
  const before = countByKind();
  after(async () => {
    const deadline = performance.now() + patienceMs;
    while (leftovers(before).length > 0 && performance.now() < deadline) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(leftovers(before), [], 'left behind after the last test of the file');
  });
};
