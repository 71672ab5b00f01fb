import type { Fate } from '../../core/index.ts';
import type { EndedCall } from '../ended-call.ts';
import type { AttemptRecord, CallTrace, TraceEvent } from './call-trace.ts';

/** Texts come from the network, and a span of Jaeger's has to fit into a datagram. */
const longestText = 1_024;
const longestMethod = 256;

export const cutText = (text: string, most = longestText): string => (text.length > most ? `${text.slice(0, most)}...` : text);

/**
 * What is asked of a call by its spans. It lives until they are written, a moment later: what waits to be sent is bytes.
 */
export class FinishedCall {
  readonly trace: CallTrace;
  readonly inbound: boolean;
  readonly fate: Fate;
  readonly grpcStatus: number;
  /** Since the Unix epoch. */
  readonly startMs: number;
  readonly endMs: number;
  /** What to add to monotonic times. */
  readonly offsetMs: number;
  /** Without the slash at its beginning. */
  readonly method: string;
  readonly authority: string;
  readonly routeName: string | undefined;
  readonly routeLocation: string | undefined;
  readonly cluster: string | undefined;
  readonly attempts: number;
  readonly retriesExhausted: boolean;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly peerAddress: string;
  /** Who called, by its certificate. */
  readonly peer: string | undefined;
  readonly replyMessage: string | undefined;

  /** Times are monotonic. */
  constructor(call: EndedCall, trace: CallTrace, startMs: number, endMs: number, offsetMs: number) {
    this.trace = trace;
    this.inbound = call.direction === 'inbound';
    this.fate = call.fate;
    this.grpcStatus = call.grpcStatus;
    this.startMs = startMs + offsetMs;
    this.endMs = endMs + offsetMs;
    this.offsetMs = offsetMs;
    this.method = cutText(call.path.slice(1), longestMethod);
    this.authority = cutText(call.authority);
    this.routeName = call.routeName;
    this.routeLocation = call.routeLocation;
    this.cluster = call.cluster;
    this.attempts = call.attempts;
    this.retriesExhausted = call.retriesExhausted;
    this.bytesReceived = call.bytesReceived;
    this.bytesSent = call.bytesSent;
    this.peerAddress = call.peerAddress;
    const { peerIdentity } = call;
    this.peer = peerIdentity?.spiffeId ?? peerIdentity?.dnsSans[0];
    this.replyMessage = call.replyMessage;
  }

  get attemptRecords(): readonly AttemptRecord[] {
    return this.trace.attempts ?? [];
  }

  get events(): readonly TraceEvent[] {
    return this.trace.events ?? [];
  }
}
