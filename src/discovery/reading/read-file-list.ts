import { hash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { formatProblem, largestEndpointFileBytes, readEndpointFile } from '../../policy/index.ts';
import { compareAddresses, type EndpointAddress } from '../endpoints.ts';
import type { FileJob, FileList } from './reading-jobs.ts';

/** Problems that an error names. */
const mostTold = 3;

/** Throws where the file is larger than a file of endpoints may be, or cannot be read. */
export const readFileBytes = (path: string): Buffer => {
  try {
    const { size } = statSync(path);
    if (size > largestEndpointFileBytes) throw new Error(`larger than ${largestEndpointFileBytes} bytes`);
    return readFileSync(path);
  } catch (error) {
    throw new Error(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
};

/** The endpoints of a file. Throws with what is wrong, its place, and what to write. */
export const readEndpointsOf = (path: string, bytes: Uint8Array, clusterName: string): readonly EndpointAddress[] => {
  const { endpoints, problems } = readEndpointFile({ path, bytes }, clusterName);
  const errors = problems.filter(({ severity }) => severity === 'error');
  if (errors.length === 0) return endpoints;
  const more = errors.length > mostTold ? ` (and ${errors.length - mostTold} more)` : '';
  throw new Error(`${errors.slice(0, mostTold).map(formatProblem).join('; ')}${more}`);
};

/** Reads a file in the thread. Throws as the two above. */
export const readFileList = ({ path, clusterName, known }: FileJob): FileList => {
  const endpoints = readEndpointsOf(path, readFileBytes(path), clusterName).toSorted(compareAddresses);
  const lines = endpoints.map((endpoint) => JSON.stringify(endpoint)).join('\n');
  const digest = hash('sha1', lines);
  return { digest, lines: digest === known ? undefined : lines, count: endpoints.length };
};
