import { Deadline, formatDurationMs, type MeshError } from '../../core/index.ts';
import { type Connection, type HeaderBlock, type Stream, type StreamHandler, statusOf, Token } from '../../http2/index.ts';
import type { HttpHealthCheck } from '../../resilience/index.ts';
import type { Endpoint } from '../endpoint.ts';
import type { StreamWaiter, WaiterQueue } from '../stream-waiter.ts';
import { verdictOfStatus } from './dialogues.ts';
import type { OnVerdict, Probe, ProbeVerdict } from './probe.ts';

export interface Http2ProbeOptions {
  readonly endpoint: Endpoint;
  readonly check: HttpHealthCheck;
  /** Where the check has no host. */
  readonly authority: string;
  readonly scheme: 'http' | 'https';
  readonly timeoutMs: number;
  readonly onVerdict: OnVerdict;
}

/** One HTTP/2 request over a connection that calls use; the status is all that is read. Its `Deadline` is its own time limit. */
export class Http2Probe implements Probe, StreamHandler, StreamWaiter {
  readonly #deadline = new Deadline(this);
  waiterQueue: WaiterQueue | undefined = undefined;
  waiterPrevious: StreamWaiter | undefined = undefined;
  waiterNext: StreamWaiter | undefined = undefined;
  readonly #options: Http2ProbeOptions;
  #stream: Stream | undefined = undefined;
  #checking = false;

  constructor(options: Http2ProbeOptions) {
    this.#options = options;
  }

  begin(): void {
    if (this.#checking) return;
    const { endpoint, timeoutMs } = this.#options;
    this.#checking = true;
    const { clock, wheel } = endpoint.engine;
    wheel.arm(this.#deadline, clock.now() + timeoutMs);
    const connection = endpoint.acquireForCheck(this);
    if (connection !== undefined) this.onConnection(connection);
  }

  cancel(): void {
    const { endpoint } = this.#options;
    const stream = this.#stream;
    this.#checking = false;
    this.#stream = undefined;
    endpoint.engine.wheel.cancel(this.#deadline);
    endpoint.cancelCheck(this);
    if (stream?.closed === false) endpoint.resetStream(stream);
  }

  onConnection(connection: Connection): void {
    if (!this.#checking) return;
    const { authority, check, scheme } = this.#options;
    const { engine } = connection;
    const block = engine.takeBlock();
    block.add(Token.method, check.method);
    block.add(Token.scheme, scheme);
    block.add(Token.path, check.path);
    block.add(Token.authority, check.host === '' ? authority : check.host);
    block.add(Token.userAgent, 'outrider-health-check');
    for (const [name, value] of check.headers) block.addNamed(name, value);
    this.#stream = connection.open(this, block, true);
    engine.returnBlock(block);
  }

  onUnavailable(error: MeshError): void {
    this.#end(
      error.source === 'local' ? { kind: 'unlearned', why: error.message } : { kind: 'failed', failure: 'network', why: error.message },
    );
  }

  onHeaders(stream: Stream, block: HeaderBlock): void {
    if (stream === this.#stream) this.#end(verdictOfStatus(statusOf(block), this.#options.check));
  }

  onData(stream: Stream, _bytes: Uint8Array, start: number, end: number): void {
    stream.consume(end - start);
  }

  onTrailers(): void {}

  onReset(stream: Stream): void {
    if (stream !== this.#stream) return;
    this.#end({ kind: 'failed', failure: 'network', why: stream.problem ?? 'the stream was reset' });
  }

  onSent(): void {}

  expire(): void {
    const { endpoint, timeoutMs } = this.#options;
    endpoint.engine.tick();
    const within = formatDurationMs(timeoutMs);
    if (this.#stream !== undefined) this.#end({ kind: 'failed', failure: 'network_timeout', why: `no answer within ${within}` });
    else if (endpoint.connected) this.#end({ kind: 'unlearned', why: `every connection was full for ${within}` });
    else this.#end({ kind: 'failed', failure: 'network_timeout', why: `no connection within ${within}` });
  }

  #end(verdict: ProbeVerdict): void {
    this.cancel();
    this.#options.onVerdict(verdict);
  }
}
