import type { Fate } from '../core/index.ts';
import { Token } from '../http2/index.ts';
import type { PeerIdentity } from '../identity/index.ts';
import type { Direction } from '../policy/index.ts';
import {
  type CallObserver,
  type CallTracer,
  callerRecords,
  callersTraceId,
  type EndedCall,
  type MethodMetrics,
} from '../telemetry/index.ts';
import type { Call } from './call.ts';
import { headerValue } from './headers.ts';
import { notGrpcMessage } from './replies.ts';

const originalPath = 'x-envoy-original-path';
const httpOk = 200;
const unsupportedMediaType = 415;

/** Shows calls that have ended to observers, one after the other through the same object: nothing is made for a call that nobody asks about. */
export class EndedCallView implements EndedCall {
  readonly #observers: readonly CallObserver[];
  readonly #tracer: CallTracer | undefined;
  #shown: Call | undefined;
  #fate: Fate = 'ok';
  #status = 0;

  constructor(observers: readonly CallObserver[], tracer: CallTracer | undefined) {
    this.#observers = observers;
    this.#tracer = tracer;
  }

  /** `call` has ended, and its request block is still its own. */
  show(call: Call, fate: Fate, status: number): void {
    this.#shown = call;
    this.#fate = fate;
    this.#status = status;
    const tracer = this.#tracer;
    if (tracer !== undefined) {
      // One that was refused before it had a route.
      const trace = call.trace ?? tracer.begin(call.request, call.proxy.direction, call.route?.route.tracing);
      call.trace = trace;
      // Nothing is kept of all others: they are not worth the asking, and two times as objects.
      if (trace.sampled || fate !== 'ok') tracer.end(this, trace, call.startMs, call.proxy.engine.nowMs);
    }
    const observers = this.#observers;
    for (let i = 0; i < observers.length; i++) (observers[i] as CallObserver).onCallEnd(this);
    this.#shown = undefined;
    const { trace } = call;
    if (tracer === undefined || trace === undefined || trace.kept) return;
    call.trace = undefined;
    tracer.recycle(trace);
  }

  get #call(): Call {
    if (this.#shown === undefined) throw new Error('an ended call was asked after onCallEnd');
    return this.#shown;
  }

  get direction(): Direction {
    return this.#call.proxy.direction;
  }

  get fate(): Fate {
    return this.#fate;
  }

  get grpcStatus(): number {
    return this.#status;
  }

  get startedAtMs(): number {
    return this.#call.proxy.engine.clock.wallNow() - this.durationMs;
  }

  get durationMs(): number {
    const call = this.#call;
    return call.proxy.engine.nowMs - call.startMs;
  }

  get metrics(): MethodMetrics {
    const { proxy, route } = this.#call;
    return route?.metrics ?? proxy.unroutedMetrics;
  }

  get path(): string {
    const { request } = this.#call;
    const original = this.#call.route?.route.traffic === undefined ? -1 : request.find(originalPath);
    return original >= 0 ? request.value(original) : this.#value(Token.path);
  }

  get authority(): string {
    return this.#value(Token.authority);
  }

  header(name: string): string | undefined {
    return headerValue(this.#call.request, name);
  }

  get httpStatus(): number {
    if (this.#fate === 'unsupported_content_type') return unsupportedMediaType;
    return this.#call.downstream.headersSent ? httpOk : 0;
  }

  get upstreamHttpStatus(): number {
    return this.#call.attempt?.httpStatus ?? 0;
  }

  get routeName(): string | undefined {
    return this.#call.route?.route.name;
  }

  get routeLocation(): string | undefined {
    const location = this.#call.route?.route.location;
    return location === undefined || location.line === 0 ? undefined : `${location.file}:${location.line}`;
  }

  get cluster(): string | undefined {
    const call = this.#call;
    return call.cluster?.name ?? call.route?.clusterName;
  }

  get endpoint(): string | undefined {
    const { attempt, tried } = this.#call;
    return (attempt?.endpoint ?? tried?.at(-1))?.key;
  }

  get attempts(): number {
    return this.#call.attempts;
  }

  get retriesExhausted(): boolean {
    return this.#call.retriesExhausted;
  }

  get bytesReceived(): number {
    return this.#call.bytesReceived;
  }

  get bytesSent(): number {
    return this.#call.bytesSent;
  }

  get peerAddress(): string {
    return this.#call.peer.remoteAddress;
  }

  get peerIdentity(): PeerIdentity | undefined {
    return this.#call.peer.peer;
  }

  get requestedServerName(): string | undefined {
    return this.#call.peer.serverName;
  }

  get connectionLost(): boolean {
    return this.#call.downstream.connectionLost;
  }

  get delayInjected(): boolean {
    return this.#call.attempt?.delayed === true;
  }

  get replyMessage(): string | undefined {
    const { downstream, replied } = this.#call;
    if (replied !== undefined) return replied.message;
    if (this.#fate === 'unsupported_content_type') return notGrpcMessage;
    return this.#fate === 'malformed_request' ? downstream.problem : undefined;
  }

  get traceId(): string | undefined {
    const { request, trace } = this.#call;
    return trace === undefined ? callersTraceId(request) : trace.traceId;
  }

  get spanId(): string | undefined {
    return this.#call.trace?.spanId;
  }

  get sampled(): boolean {
    const { request, trace } = this.#call;
    return trace === undefined ? callerRecords(request) : trace.kept;
  }

  #value(token: number): string {
    const { request } = this.#call;
    const at = request.indexOf(token);
    return at < 0 ? '' : request.value(at);
  }
}
