import { type Clock, FolderWatch, type Logger } from '../core/index.ts';
import type { FileEndpointsPolicy } from '../policy/index.ts';
import type { EndpointAddress } from './endpoints.ts';
import { KeptSource } from './kept-source.ts';
import { decodeEndpoints } from './reading/decode-endpoints.ts';
import { readEndpointsOf, readFileBytes } from './reading/read-file-list.ts';
import { ReadingThread } from './reading/reading-thread.ts';

export interface FileEndpointSourceOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Reads long files; one of its own unless given. */
  readonly thread?: ReadingThread;
}

/** What is longer takes more than two or three milliseconds. Where YAML has to be asked for the place of each value, JSON has not. */
const longestYamlAtOnceBytes = 4_096;
const longestJsonAtOnceBytes = 65_536;
const openingBrace = 0x7b;

/** Endpoints in a file, read again when it changes. One that is gone, half written or wrong leaves the last good endpoints in force. */
export class FileEndpointSource extends KeptSource {
  readonly #policy: FileEndpointsPolicy;
  readonly #watch: FolderWatch;
  readonly #thread: ReadingThread;
  readonly #ownsThread: boolean;
  #reading = false;
  /** The file has changed while it was read. */
  #stale = false;
  #digest = '';
  #byLine: ReadonlyMap<string, EndpointAddress> = new Map();
  #listed: readonly EndpointAddress[] = [];
  #closed = false;

  constructor(policy: FileEndpointsPolicy, { clock, log, thread }: FileEndpointSourceOptions) {
    super({ clock, log, source: `file:${policy.path}`, keepLastMs: policy.keepLastMs });
    this.#policy = policy;
    this.#ownsThread = thread === undefined;
    this.#thread = thread ?? new ReadingThread(clock);
    // Before the first reading: a change in between would be lost.
    this.#watch = new FolderWatch([policy.path], clock, () => this.#read());
    this.#read();
  }

  override close(): void {
    this.#closed = true;
    this.#watch.close();
    super.close();
    if (this.#ownsThread) this.#thread.close();
  }

  #read(): void {
    if (this.#reading) {
      this.#stale = true;
      return;
    }
    const { path, clusterName } = this.#policy;
    this.kept.counts.update_attempt++;
    try {
      const bytes = readFileBytes(path);
      const isJson = bytes.find((byte) => byte > 0x20) === openingBrace;
      if (bytes.length > (isJson ? longestJsonAtOnceBytes : longestYamlAtOnceBytes)) {
        void this.#readInThread();
        return;
      }
      this.#found(readEndpointsOf(path, bytes, clusterName));
      this.#digest = '';
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Never rejects: what goes wrong becomes the error of the set. */
  async #readInThread(): Promise<void> {
    this.#reading = true;
    this.#stale = false;
    const { path, clusterName } = this.#policy;
    try {
      const { lines, digest } = await this.#thread.read({ kind: 'endpoint_file', path, clusterName, known: this.#digest });
      const decoded = lines === undefined ? undefined : await decodeEndpoints(lines, this.#byLine);
      if (this.#closed) return;
      this.#digest = digest;
      if (decoded !== undefined) {
        this.#byLine = decoded.byLine;
        this.#listed = decoded.endpoints;
      }
      this.#found(this.#listed);
    } catch (error) {
      if (!this.#closed) this.#fail(error);
    } finally {
      this.#reading = false;
    }
    if (this.#stale && !this.#closed) this.#read();
  }

  #found(endpoints: readonly EndpointAddress[]): void {
    this.kept.found(endpoints, `${this.#policy.path} lists no endpoint`);
  }

  /** A file is right until it changes. */
  #fail(error: unknown): void {
    if (this.kept.value.error === undefined) this.kept.confirmed();
    this.kept.failed(error instanceof Error ? error.message : String(error));
  }
}
