import type { Fate } from '../core/index.ts';
import type { PeerIdentity } from '../identity/index.ts';
import type { Direction } from '../policy/index.ts';
import type { MethodMetrics } from './method-metrics.ts';

/**
 * What can be asked of a call when it has ended. Getters make strings only when they are read, and all of it is valid only within
 * `onCallEnd`: the next call shows itself through the same object, and the header block goes back to its pool.
 */
export interface EndedCall {
  readonly direction: Direction;
  readonly fate: Fate;
  /** What the caller was told, or would have been. */
  readonly grpcStatus: number;
  /** Milliseconds since the Unix epoch. */
  readonly startedAtMs: number;
  readonly durationMs: number;
  /** Where the call is counted, in a moment. */
  readonly metrics: MethodMetrics;
  /** As the caller wrote it, whatever the route made of it; empty where there was none. */
  readonly path: string;
  /** `:authority`; empty where there was none. */
  readonly authority: string;
  /** A request header by its lower-case name, as it was sent on: several are joined by commas. `undefined`: there is none. */
  header(name: string): string | undefined;
  /** Of the answer that the caller got; 0 where none had begun. */
  readonly httpStatus: number;
  /** Of the last answer from upstream; 0 where none had begun. */
  readonly upstreamHttpStatus: number;
  /** `undefined`: it ended before it had a route. */
  readonly routeName: string | undefined;
  /** `file:line` of the route; `undefined` without a route, and for the default route, which stands in no file. */
  readonly routeLocation: string | undefined;
  /** `undefined`: it ended before it had a cluster. */
  readonly cluster: string | undefined;
  /** `address:port` that the last attempt went to; `undefined`: none was picked. */
  readonly endpoint: string | undefined;
  /** Attempts begun, those that found no endpoint included. */
  readonly attempts: number;
  /** It failed after retries, or somebody further down has said that it is not to be tried again. */
  readonly retriesExhausted: boolean;
  /** Bytes of DATA from the caller. */
  readonly bytesReceived: number;
  /** Bytes of DATA for the caller. */
  readonly bytesSent: number;
  /** `address:port` of whoever called. */
  readonly peerAddress: string;
  /** Of its verified certificate; `undefined`: it showed none. */
  readonly peerIdentity: PeerIdentity | undefined;
  /** What the caller asked for in its handshake (SNI). */
  readonly requestedServerName: string | undefined;
  /** The connection of the caller was gone before the call ended. */
  readonly connectionLost: boolean;
  /** A fault of the policies held the last attempt up. */
  readonly delayInjected: boolean;
  /** What we told the caller in the place of an answer: cause and remedy. `undefined`: what it got came from upstream, or it did not wait. */
  readonly replyMessage: string | undefined;
  /** 32 hexadecimal digits; `undefined`: it belongs to no trace. */
  readonly traceId: string | undefined;
  /** Of our own span, 16 hexadecimal digits; `undefined`: tracing is off. */
  readonly spanId: string | undefined;
  /** Whether its spans are recorded; without tracing of our own what the caller says of that. */
  readonly sampled: boolean;
}

/**
 * Hears of each call once, when it has ended: what is written here is on the path of every call. Must not throw. Requests that are shed
 * before anything is made for them (`overloaded`) never become calls: they are counted among the fates, and no observer hears of them.
 */
export interface CallObserver {
  onCallEnd(call: EndedCall): void;
}
