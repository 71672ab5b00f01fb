/** The worker thread of `InstanceReader`: reads answers that are too long to be read between two calls. */
import { parentPort } from 'node:worker_threads';
import { type InstanceList, type InstanceSelection, readInstances } from './instance-list.ts';

export interface ReadingJob {
  readonly id: number;
  readonly bytes: Uint8Array;
  readonly selection: InstanceSelection;
  readonly known: string;
}

export type ReadingResult =
  | { readonly id: number; readonly list: InstanceList }
  | { readonly id: number /** Why the answer could not be read. */; readonly problem: string };

const decoder = new TextDecoder('utf-8');

parentPort?.on('message', ({ id, bytes, selection, known }: ReadingJob) => {
  let result: ReadingResult;
  try {
    result = { id, list: readInstances(decoder.decode(bytes), selection, known) };
  } catch (error) {
    result = { id, problem: error instanceof Error ? error.message : String(error) };
  }
  parentPort?.postMessage(result);
});
