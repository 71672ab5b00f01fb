import { Deadline } from '../../core/index.ts';
import { type Connection, type HeaderBlock, type Stream, type StreamHandler, Token } from '../../http2/index.ts';
import type { MirrorPolicy } from '../../policy/index.ts';
import type { Admission, Cluster, Endpoint, EndpointOutcome, StreamWaiter, WaiterQueue } from '../../upstream/index.ts';
import { statusIn } from '../answers.ts';
import type { DirectionProxy } from '../direction-proxy.ts';
import { headerListBytes } from '../headers.ts';
import type { ReplayBuffer } from '../replay-buffer.ts';

/** What a copy may hold back of a request at most, before it gives up. */
const mostHeldBytes = 65_536;
/** A copy is given up after so long without a message, in either direction. */
const longestWaitMs = 30_000;

/** The name with `suffix`, in front of its port, as Envoy does. */
const shadowOf = (authority: string, suffix: string): string => authority.replace(/(:\d+)?$/, `${suffix}$1`);

/**
 * A copy of one call for another cluster. Nobody waits for it: it takes what the caller sends as that comes, gives no credit and asks for no
 * pause, and where its server cannot keep up, it ends. What the server answers goes nowhere. Its `Deadline` is its own time limit.
 */
export class MirroredCall implements StreamHandler, StreamWaiter {
  readonly #deadline = new Deadline(this);
  waiterQueue: WaiterQueue | undefined = undefined;
  waiterPrevious: StreamWaiter | undefined = undefined;
  waiterNext: StreamWaiter | undefined = undefined;
  waiterSinceMs = 0;
  readonly #proxy: DirectionProxy;
  readonly #admission: Admission;
  readonly #endpoint: Endpoint;
  #block: HeaderBlock | undefined;
  #waiting: ReplayBuffer | undefined;
  #stream: Stream | undefined = undefined;
  #requestEnded: boolean;
  readonly #endsAtMs: number;
  #ended = false;

  private constructor(
    proxy: DirectionProxy,
    admission: Admission,
    endpoint: Endpoint,
    block: HeaderBlock,
    requestEnded: boolean,
    endsAtMs: number,
  ) {
    this.#proxy = proxy;
    this.#admission = admission;
    this.#endpoint = endpoint;
    this.#block = block;
    this.#waiting = proxy.replayBuffers.take();
    this.#requestEnded = requestEnded;
    this.#endsAtMs = endsAtMs;
  }

  /** Begins a copy, or counts that none could be made: there is no room, nobody to send it to, or too little memory. */
  static begin(
    proxy: DirectionProxy,
    cluster: Cluster | undefined,
    policy: MirrorPolicy,
    request: HeaderBlock,
    requestEnded: boolean,
    endsAtMs: number,
  ): MirroredCall | undefined {
    const { engine, trafficStats } = proxy;
    const { nowMs } = engine;
    const usable = cluster !== undefined && !engine.buffersShort && !cluster.breakerRefuses('', nowMs);
    const endpoint = usable ? cluster.pickEndpoint() : undefined;
    const admission = endpoint === undefined ? undefined : cluster?.admit();
    if (endpoint === undefined || admission === undefined) {
      trafficStats.mirrorsDropped++;
      return undefined;
    }
    const block = engine.takeBlock();
    block.copyFrom(request);
    const authority = block.indexOf(Token.authority);
    if (authority >= 0 && policy.suffix !== '') block.set(Token.authority, shadowOf(block.value(authority), policy.suffix));
    block.addNamed('x-outrider-shadow', '1');
    const mirrored = new MirroredCall(proxy, admission, endpoint, block, requestEnded, endsAtMs);
    trafficStats.mirrorsActive++;
    endpoint.begin();
    mirrored.#rearm();
    const connection = endpoint.acquire(mirrored);
    if (connection !== undefined && !mirrored.#ended) mirrored.onConnection(connection);
    return mirrored.#ended ? undefined : mirrored;
  }

  // ---- the call that is copied ----

  /** What the caller sends. */
  onRequestData(bytes: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.#ended) return;
    if (endStream) this.#requestEnded = true;
    const stream = this.#stream;
    if (stream === undefined) {
      const kept = start === end || this.#proxy.replayBuffers.append(this.#waiting as ReplayBuffer, bytes, start, end, mostHeldBytes);
      if (!kept) this.#drop();
    } else if (stream.queuedBytes + end - start > mostHeldBytes || this.#proxy.engine.buffersShort) this.#drop();
    else {
      stream.sendData(bytes, start, end, endStream);
      if (!endStream) this.#rearm();
    }
  }

  /** The call has ended; where its request has not, no more of it comes. */
  onCallEnded(): void {
    if (!this.#requestEnded) this.#drop();
  }

  // ---- its stream ----

  onConnection(connection: Connection): void {
    if (this.#ended) return;
    const block = this.#block as HeaderBlock;
    const waiting = this.#waiting as ReplayBuffer;
    if (block.listSizeBytes > connection.peerMaxHeaderListBytes && headerListBytes(block) > connection.peerMaxHeaderListBytes) {
      this.#drop();
      return;
    }
    const { length } = waiting;
    const stream = connection.open(this, block, this.#requestEnded && length === 0);
    this.#stream = stream;
    if (length > 0) stream.sendData(waiting.bytes, 0, length, this.#requestEnded);
    this.#forgetRequest();
    this.#proxy.trafficStats.mirrorsSent++;
  }

  onUnavailable(): void {
    this.#proxy.engine.tick();
    this.#drop();
  }

  onHeaders(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    if (endStream) this.onTrailers(stream, block);
  }

  onData(stream: Stream, _bytes: Uint8Array, start: number, end: number, endStream: boolean): void {
    stream.consume(end - start);
    if (endStream) this.#finish('error');
    else if (!this.#ended) this.#rearm();
  }

  onTrailers(stream: Stream, block: HeaderBlock): void {
    this.#finish(statusIn(block) === 0 ? 'success' : 'error');
    if (!stream.endSent) this.#endpoint.resetStream(stream);
  }

  onReset(): void {
    this.#finish('error');
  }

  onSent(): void {}

  /** Its time is over. */
  expire(): void {
    this.#proxy.engine.tick();
    this.#drop();
  }

  /** It lasts as long as messages come, and no longer than the call may. */
  #rearm(): void {
    const { nowMs, wheel } = this.#proxy.engine;
    wheel.arm(this.#deadline, Math.min(this.#endsAtMs, nowMs + longestWaitMs));
  }

  /** Gives up: the server hears that nobody waits. */
  #drop(): void {
    if (this.#ended) return;
    this.#proxy.trafficStats.mirrorsDropped++;
    const stream = this.#stream;
    if (stream === undefined) this.#endpoint.cancel(this);
    this.#finish('cancelled');
    if (stream !== undefined && !stream.closed) this.#endpoint.resetStream(stream);
  }

  #finish(outcome: EndpointOutcome): void {
    if (this.#ended) return;
    this.#ended = true;
    const { engine, trafficStats } = this.#proxy;
    engine.wheel.cancel(this.#deadline);
    this.#forgetRequest();
    this.#endpoint.end(outcome);
    this.#admission.release();
    trafficStats.mirrorsActive--;
  }

  #forgetRequest(): void {
    const { engine, replayBuffers } = this.#proxy;
    if (this.#block !== undefined) engine.returnBlock(this.#block);
    if (this.#waiting !== undefined) replayBuffers.release(this.#waiting);
    this.#block = undefined;
    this.#waiting = undefined;
  }
}
