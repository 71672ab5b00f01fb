import type { HttpHealthCheck, TcpHealthCheck } from '../../resilience/index.ts';
import type { ProbeVerdict } from './probe.ts';
import type { Dialogue } from './socket-probe.ts';

/** Nobody needs more of an answer to know how an endpoint is; what is longer is no answer to a check. */
const longestAnswerBytes = 8_192;

const unread: ProbeVerdict = {
  kind: 'failed',
  failure: 'active',
  why: `nothing that was expected in the first ${longestAnswerBytes} bytes`,
};

/** Sends, and looks for what is expected, one after another, with anything between (Envoy's fuzzy match). */
export class TcpDialogue implements Dialogue {
  readonly request: Uint8Array;
  readonly #expected: readonly Uint8Array[];
  #received: Buffer = Buffer.alloc(0);

  constructor(check: TcpHealthCheck) {
    this.request = check.send;
    this.#expected = check.receive;
  }

  onSent(): ProbeVerdict | undefined {
    return this.#expected.length === 0 ? { kind: 'passed', why: 'takes connections' } : undefined;
  }

  read(bytes: Uint8Array): ProbeVerdict | undefined {
    this.#received = Buffer.concat([this.#received, bytes]);
    let at = 0;
    for (const expected of this.#expected) {
      const found = this.#received.indexOf(expected, at);
      if (found < 0) return this.#received.length > longestAnswerBytes ? unread : undefined;
      at = found + expected.length;
    }
    return { kind: 'passed', why: 'answers what is expected' };
  }
}

const within = (ranges: readonly (readonly [number, number])[], status: number): boolean =>
  ranges.some(([from, below]) => status >= from && status < below);

/** What an HTTP status says. */
export const verdictOfStatus = (status: number, check: HttpHealthCheck): ProbeVerdict => {
  const why = `answers HTTP ${status} to ${check.method} ${check.path}`;
  if (within(check.expectedStatuses, status)) return { kind: 'passed', why };
  // What is to be tried again counts as Envoy counts a lost answer: by unhealthy_threshold.
  return { kind: 'failed', failure: within(check.retriableStatuses, status) ? 'network' : 'active', why };
};

/** One HTTP/1.1 request, of whose answer only the status line is read (RFC 9112 4). */
export class Http1Dialogue implements Dialogue {
  readonly request: Uint8Array;
  readonly #check: HttpHealthCheck;
  #received: Buffer = Buffer.alloc(0);

  /** @param host where the check has none. */
  constructor(check: HttpHealthCheck, host: string) {
    this.#check = check;
    const lines = [
      `${check.method} ${check.path} HTTP/1.1`,
      `host: ${plain(check.host === '' ? host : check.host)}`,
      'user-agent: outrider-health-check',
      ...(check.method === 'GET' || check.method === 'HEAD' ? [] : ['content-length: 0']),
      'connection: close',
      ...check.headers.map(([name, value]) => `${name}: ${plain(value)}`),
    ];
    this.request = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  }

  onSent(): undefined {
    return undefined;
  }

  read(bytes: Uint8Array): ProbeVerdict | undefined {
    this.#received = Buffer.concat([this.#received, bytes]);
    for (;;) {
      const end = this.#received.indexOf('\r\n');
      if (end < 0) return this.#received.length > longestAnswerBytes ? unread : undefined;
      const status = /^HTTP\/1\.[01] ([1-5]\d\d)( |$)/.exec(this.#received.toString('latin1', 0, end))?.[1];
      if (status === undefined) return { kind: 'failed', failure: 'active', why: 'does not answer in HTTP/1.1' };
      if (!status.startsWith('1')) return verdictOfStatus(Number(status), this.#check);
      // An interim answer (RFC 9110 15.2) is not the last word.
      const next = this.#received.indexOf('\r\n\r\n');
      if (next < 0) return this.#received.length > longestAnswerBytes ? unread : undefined;
      this.#received = this.#received.subarray(next + 4);
    }
  }
}

/** No text of a policy may end its line. */
const plain = (value: string): string => value.replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, '?');
