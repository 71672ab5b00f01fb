import { Deadline, formatDurationMs, type MeshError } from '../../core/index.ts';
import {
  decodeGrpcMessage,
  GrpcStatus,
  HealthResponses,
  healthCheckPath,
  healthRequest,
  healthWatchPath,
  parseGrpcStatus,
  type ServingStatus,
  statusFromHttp,
} from '../../grpc/index.ts';
import {
  type Connection,
  ErrorCode,
  errorCodeName,
  type HeaderBlock,
  type Stream,
  type StreamHandler,
  statusOf,
  Token,
} from '../../http2/index.ts';
import type { Endpoint } from '../endpoint.ts';
import type { StreamWaiter, WaiterQueue } from '../stream-waiter.ts';

/** What a health request says of itself. */
export interface HealthRequestOptions {
  /** Empty: the server as a whole. */
  readonly service: string;
  readonly authority: string;
  readonly scheme: 'http' | 'https';
  /** Further headers. */
  readonly metadata: readonly (readonly [name: string, value: string])[];
}

/** How an exchange came to its end. */
export type ExchangeEnd =
  /** The server ended it with a gRPC status, or with an HTTP status that means one. */
  | { readonly kind: 'answered'; readonly status: number; readonly message: string }
  /** The server spoke, and it was no health protocol. */
  | { readonly kind: 'malformed'; readonly why: string }
  /** There was no connection, or it was lost. */
  | { readonly kind: 'lost'; readonly why: string }
  | { readonly kind: 'timeout'; readonly why: string }
  /** Nothing was learned of the endpoint: the reason is here. */
  | { readonly kind: 'unlearned'; readonly why: string };

export interface ExchangeOwner {
  /** A message of the server. */
  onServing(exchange: HealthExchange, status: ServingStatus): void;
  /** Exactly once, unless it was cancelled. */
  onExchangeEnd(exchange: HealthExchange, end: ExchangeEnd): void;
}

const longestMessage = 200;

/**
 * One `Check` or one `Watch` on a connection of the endpoint: the very one that calls use, so that it finds what they would find. Its `Deadline`
 * is its own time limit; a `Watch` has one until its first message.
 */
export class HealthExchange implements StreamHandler, StreamWaiter {
  readonly #deadline = new Deadline(this);
  waiterQueue: WaiterQueue | undefined = undefined;
  waiterPrevious: StreamWaiter | undefined = undefined;
  waiterNext: StreamWaiter | undefined = undefined;
  readonly watches: boolean;
  readonly #endpoint: Endpoint;
  readonly #owner: ExchangeOwner;
  readonly #request: HealthRequestOptions;
  readonly #timeoutMs: number;
  readonly #responses = new HealthResponses();
  #stream: Stream | undefined = undefined;
  #ended = false;

  constructor(kind: 'check' | 'watch', endpoint: Endpoint, request: HealthRequestOptions, timeoutMs: number, owner: ExchangeOwner) {
    this.watches = kind === 'watch';
    this.#endpoint = endpoint;
    this.#request = request;
    this.#timeoutMs = timeoutMs;
    this.#owner = owner;
  }

  /** Begins. The owner may hear of the end before this returns. */
  begin(): void {
    const { clock, wheel } = this.#endpoint.engine;
    wheel.arm(this.#deadline, clock.now() + this.#timeoutMs);
    const connection = this.#endpoint.acquireForCheck(this);
    if (connection !== undefined) this.onConnection(connection);
  }

  /** Ends it without a word to the owner. */
  cancel(): void {
    if (this.#ended) return;
    this.#finish();
    if (this.#stream?.closed === false) this.#endpoint.resetStream(this.#stream);
  }

  /** Its stream is one of this connection. */
  isOn(connection: Connection): boolean {
    return this.#stream?.connection === connection;
  }

  // ---- its connection ----

  onConnection(connection: Connection): void {
    if (this.#ended) return;
    const { engine } = connection;
    const block = engine.takeBlock();
    const { authority, metadata, scheme, service } = this.#request;
    block.add(Token.method, 'POST');
    block.add(Token.scheme, scheme);
    block.add(Token.path, this.watches ? healthWatchPath : healthCheckPath);
    block.add(Token.authority, authority);
    block.add(Token.te, 'trailers');
    block.add(Token.contentType, 'application/grpc');
    block.add(Token.userAgent, 'outrider-health-check');
    if (!this.watches) block.add(Token.grpcTimeout, `${Math.ceil(this.#timeoutMs)}m`);
    for (const [name, value] of metadata) block.addNamed(name, value);
    const stream = connection.open(this, block, false);
    engine.returnBlock(block);
    this.#stream = stream;
    const message = healthRequest(service);
    stream.sendData(message, 0, message.length, true);
  }

  onUnavailable(error: MeshError): void {
    // Our own lack of descriptors says nothing about the endpoint.
    this.#end(error.source === 'local' ? { kind: 'unlearned', why: error.message } : { kind: 'lost', why: error.message });
  }

  // ---- its stream ----

  onHeaders(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    if (endStream) {
      this.onTrailers(stream, block);
      return;
    }
    const httpStatus = statusOf(block);
    if (httpStatus === 200) return;
    this.#end({ kind: 'answered', status: statusFromHttp(httpStatus), message: `HTTP ${httpStatus}` });
    this.#endpoint.resetStream(stream);
  }

  onData(stream: Stream, bytes: Uint8Array, start: number, end: number, endStream: boolean): void {
    stream.consume(end - start);
    if (this.#ended) return;
    const problem = this.#responses.read(bytes, start, end, this.#onServing);
    if (problem !== undefined) {
      this.#end({ kind: 'malformed', why: problem });
      if (!stream.closed) this.#endpoint.resetStream(stream);
    } else if (endStream) this.#end({ kind: 'malformed', why: 'the answer ended without grpc-status' });
  }

  onTrailers(stream: Stream, block: HeaderBlock): void {
    const at = block.indexOf(Token.grpcStatus);
    const read = at < 0 ? -1 : parseGrpcStatus(block.bytes, block.valueStart[at] as number, block.valueEnd[at] as number);
    const text = block.find('grpc-message');
    if (at < 0) {
      const httpStatus = block.indexOf(Token.status) < 0 ? 200 : statusOf(block);
      this.#end({ kind: 'answered', status: statusFromHttp(httpStatus), message: `HTTP ${httpStatus} without grpc-status` });
    } else {
      const message = text < 0 ? '' : decodeGrpcMessage(block.value(text)).slice(0, longestMessage);
      this.#end({ kind: 'answered', status: read < 0 ? GrpcStatus.UNKNOWN : read, message });
    }
    if (!stream.endSent && !stream.closed) this.#endpoint.resetStream(stream);
  }

  onReset(stream: Stream, code: number): void {
    const why = stream.connectionLost
      ? `the connection was lost (${stream.problem ?? 'closed'})`
      : `the stream was reset with ${errorCodeName(code)}`;
    // A server that goes away, or has no room at this moment, has not said that it does not serve.
    this.#end(code === ErrorCode.refusedStream && !stream.connectionLost ? { kind: 'unlearned', why } : { kind: 'lost', why });
  }

  onSent(): void {}

  /** Its time is over. */
  expire(): void {
    this.#endpoint.engine.tick();
    const stream = this.#stream;
    const within = formatDurationMs(this.#timeoutMs);
    if (stream !== undefined) this.#end({ kind: 'timeout', why: `no answer within ${within}` });
    else if (this.#endpoint.connected) this.#end({ kind: 'unlearned', why: `every connection was full for ${within}` });
    else this.#end({ kind: 'timeout', why: `no connection within ${within}` });
    if (stream?.closed === false) this.#endpoint.resetStream(stream);
  }

  readonly #onServing = (status: ServingStatus): void => {
    if (this.#ended) return;
    if (this.watches) this.#endpoint.engine.wheel.cancel(this.#deadline);
    this.#owner.onServing(this, status);
  };

  #end(end: ExchangeEnd): void {
    if (this.#ended) return;
    this.#finish();
    this.#owner.onExchangeEnd(this, end);
  }

  #finish(): void {
    this.#ended = true;
    this.#endpoint.engine.wheel.cancel(this.#deadline);
    this.#endpoint.cancelCheck(this);
    this.#responses.clear();
  }
}
