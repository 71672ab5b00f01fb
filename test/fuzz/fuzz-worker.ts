import { parentPort, workerData } from 'node:worker_threads';
import { targets } from './all-targets.ts';
import { type Find, fuzz } from './fuzz-loop.ts';

/** What the main thread tells a worker. */
export interface WorkerOrder {
  readonly target: string;
  readonly seed: number;
  readonly forMs: number;
  readonly guided: boolean;
  /** Words: executions, bytes of the present input; then the input. The main thread reads them when the worker no longer answers. */
  readonly shared: SharedArrayBuffer;
}

export type WorkerMessage =
  | { readonly kind: 'find'; readonly find: Find }
  | { readonly kind: 'end'; readonly executions: number; readonly corpus: number; readonly blocks: number };

export const sharedHeadBytes = 8;
/** Of the time; the rest goes on from what was learned in it, ten times as fast. */
const guidedShare = 0.4;

if (parentPort !== null) {
  const port = parentPort;
  const order = workerData as WorkerOrder;
  const head = new Int32Array(order.shared, 0, 2);
  const present = new Uint8Array(order.shared, sharedHeadBytes);
  const send = (message: WorkerMessage): void => port.postMessage(message);
  const maker = targets[order.target];
  if (maker === undefined) throw new Error(`no target ${order.target}`);
  const target = await maker();
  const endMs = performance.now() + order.forMs;
  const guidedUntilMs = endMs - order.forMs * (1 - guidedShare);
  const { executions, corpus, blocks } = await fuzz(target, {
    seed: order.seed,
    guided: () => order.guided && performance.now() < guidedUntilMs,
    goesOn: () => performance.now() < endMs,
    beforeEach: (input) => {
      present.set(input.subarray(0, present.length));
      Atomics.store(head, 1, Math.min(input.length, present.length));
      Atomics.add(head, 0, 1);
    },
    onFind: (find) => send({ kind: 'find', find }),
  });
  await target.close?.();
  send({ kind: 'end', executions, corpus, blocks });
  port.close();
}
