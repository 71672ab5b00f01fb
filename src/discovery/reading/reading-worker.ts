/** The worker of `ReadingThread`: reads what is too long to be read between two calls. */
import { parentPort } from 'node:worker_threads';
import type { ReadingJob, ReadingReply, ReadingRequest, ReadingResults } from './reading-jobs.ts';

// What a job needs is loaded with the first of its kind: who reads answers has no need of YAML.
const read = async (job: ReadingJob): Promise<ReadingResults[keyof ReadingResults]> => {
  if (job.kind === 'endpoint_file') return (await import('./read-file-list.ts')).readFileList(job);
  const { readInstances } = await import('../consul/instance-list.ts');
  return readInstances(new TextDecoder('utf-8').decode(job.bytes), job.selection, job.known);
};

parentPort?.on('message', ({ id, job }: ReadingRequest) => {
  const answer = (reply: ReadingReply): void => parentPort?.postMessage(reply);
  read(job).then(
    (result) => answer({ id, result }),
    (error: unknown) => answer({ id, problem: error instanceof Error ? error.message : String(error) }),
  );
});
