import type { SocketBudget } from '../../core/index.ts';

/** Why a connection is closed as soon as it was accepted. */
export type ConnectionOverflow = 'listener' | 'process' | 'source' | 'descriptors';

export interface ConnectionLimitOptions {
  /** Both listeners together. */
  readonly perProcess: number;
  /** Below `perProcess`, so that peers who take all there is on one listener leave some for the other. */
  readonly perListener: number;
  /** From one address, on the inbound listener only: all clients of the outbound one have the same. */
  readonly perSource: number;
  readonly sockets: SocketBudget;
}

/** Counts the connections that both listeners have accepted, and says which one is too many. */
export class ConnectionLimits {
  readonly options: ConnectionLimitOptions;
  active = 0;
  readonly #bySource = new Map<string, number>();

  constructor(options: ConnectionLimitOptions) {
    this.options = options;
  }

  /**
   * Counts one more of a listener that has `listenerActive`, or says why not.
   * @param source address of the peer; `undefined` where addresses do not count.
   */
  take(listenerActive: number, source: string | undefined): ConnectionOverflow | undefined {
    const { perProcess, perListener, perSource, sockets } = this.options;
    if (listenerActive >= perListener) return 'listener';
    if (this.active >= perProcess) return 'process';
    const ofSource = source === undefined ? 0 : (this.#bySource.get(source) ?? 0);
    if (ofSource >= perSource) return 'source';
    if (!sockets.take()) return 'descriptors';
    this.active++;
    if (source !== undefined) this.#bySource.set(source, ofSource + 1);
    return undefined;
  }

  /** Gives back what one successful `take` counted. */
  give(source: string | undefined): void {
    this.active--;
    this.options.sockets.give();
    if (source === undefined) return;
    const left = (this.#bySource.get(source) ?? 1) - 1;
    if (left === 0) this.#bySource.delete(source);
    else this.#bySource.set(source, left);
  }
}

/** For the log: what was reached, and what to do about it. */
export const overflowRemedy = (overflow: ConnectionOverflow, { perListener, perProcess, perSource, sockets }: ConnectionLimitOptions) => {
  switch (overflow) {
    case 'listener':
      return { why: `the listener has ${perListener} connections already`, remedy: 'raise MAX_CONNECTIONS_PER_LISTENER' };
    case 'process':
      return { why: `the sidecar has ${perProcess} connections already`, remedy: 'raise MAX_CONNECTIONS' };
    case 'source':
      return { why: `this address has ${perSource} connections already`, remedy: 'raise MAX_CONNECTIONS_PER_SOURCE' };
    case 'descriptors':
      return { why: `the sidecar has ${sockets.limit} sockets open already`, remedy: 'raise the limit of open files (ulimit -n)' };
  }
};
