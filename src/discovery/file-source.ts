import { readFileSync, statSync } from 'node:fs';
import { type Clock, FolderWatch, type Logger } from '../core/index.ts';
import { type FileEndpointsPolicy, formatProblem, largestEndpointFileBytes, readEndpointFile } from '../policy/index.ts';
import type { EndpointSet, EndpointSource, EndpointUpdateCounts } from './endpoints.ts';
import { KeptEndpoints } from './kept-endpoints.ts';

export interface FileEndpointSourceOptions {
  readonly clock: Clock;
  readonly log: Logger;
}

/** Problems that the error of a set names. */
const mostTold = 3;

/** Endpoints in a file, read again when it changes. One that is gone, half written or wrong leaves the last good endpoints in force. */
export class FileEndpointSource implements EndpointSource {
  readonly #policy: FileEndpointsPolicy;
  readonly #kept: KeptEndpoints;
  readonly #watch: FolderWatch;

  constructor(policy: FileEndpointsPolicy, { clock, log }: FileEndpointSourceOptions) {
    this.#policy = policy;
    this.#kept = new KeptEndpoints({ clock, log, source: `file:${policy.path}`, keepLastMs: policy.keepLastMs });
    // Before the first reading: a change in between would be lost.
    this.#watch = new FolderWatch([policy.path], clock, () => this.#read());
    this.#read();
  }

  get value(): EndpointSet {
    return this.#kept.value;
  }

  get updates(): EndpointUpdateCounts {
    return this.#kept.counts;
  }

  subscribe(listener: (value: EndpointSet) => void): () => void {
    return this.#kept.subscribe(listener);
  }

  close(): void {
    this.#watch.close();
    this.#kept.close();
  }

  #read(): void {
    const { path, clusterName } = this.#policy;
    this.#kept.counts.update_attempt++;
    let bytes: Buffer;
    try {
      const { size } = statSync(path);
      if (size > largestEndpointFileBytes) throw new Error(`larger than ${largestEndpointFileBytes} bytes`);
      bytes = readFileSync(path);
    } catch (error) {
      this.#fail(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
      return;
    }
    const { endpoints, problems } = readEndpointFile({ path, bytes }, clusterName);
    const errors = problems.filter(({ severity }) => severity === 'error');
    if (errors.length > 0) {
      const more = errors.length > mostTold ? ` (and ${errors.length - mostTold} more)` : '';
      this.#fail(`${errors.slice(0, mostTold).map(formatProblem).join('; ')}${more}`);
    } else this.#kept.found(endpoints, `${path} lists no endpoint`);
  }

  /** A file is right until it changes. */
  #fail(why: string): void {
    if (this.#kept.value.error === undefined) this.#kept.confirmed();
    this.#kept.failed(why);
  }
}
