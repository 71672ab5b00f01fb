import type { Attributes, HrTime, SpanContext, SpanStatus } from '@opentelemetry/api';
import type { ReadableSpan, TimedEvent } from '@opentelemetry/sdk-trace';
import { GrpcStatus, statusName } from '../../grpc/index.ts';
import type { AttemptRecord, CallTrace, TraceEvent } from './call-trace.ts';
import { serverErrors } from './failures.ts';
import { cutText, type FinishedCall } from './finished-call.ts';
import type { SpanResource } from './span-resource.ts';

/** Numbers of the API's enumerations, which would be loaded for nothing else. */
const kindServer = 1;
const kindClient = 2;
const statusUnset: SpanStatus = { code: 0 };
const statusError = 2;
const recorded = 1;
const httpOk = 200;

const nanosPerMs = 1e6;
const hrTime = (ms: number): HrTime => {
  const seconds = Math.floor(ms / 1_000);
  return [seconds, Math.min(Math.round((ms - seconds * 1_000) * nanosPerMs), 999_999_999)];
};

const errorStatus = (message: string | undefined): SpanStatus => ({
  code: statusError,
  ...(message === undefined ? {} : { message: cutText(message) }),
});

const scope = { name: 'outrider' };
const noLinks: [] = [];

/** Who is told of attributes, one after the other. */
export interface AttributeSink {
  attribute(key: string, value: string | number | boolean): void;
}

/** For exporters that want them as an object, which costs as much as all else about a span. */
const attributesOf = (tell: (sink: AttributeSink) => void): Attributes => {
  const attributes: Attributes = {};
  tell({
    attribute: (key, value) => {
      attributes[key] = value;
    },
  });
  return attributes;
};

/** What the SDK's exporters take: each reads everything once, which is when it is made. */
export abstract class FinishedSpan implements Omit<ReadableSpan, 'parentSpanContext'> {
  readonly resource: SpanResource;
  protected readonly call: FinishedCall;

  constructor(call: FinishedCall, resource: SpanResource) {
    this.call = call;
    this.resource = resource;
  }

  abstract readonly name: string;
  abstract readonly kind: number;
  /** `undefined`: the trace begins with it. */
  abstract readonly parentSpanContext: SpanContext | undefined;
  abstract readonly startMs: number;
  abstract readonly endMs: number;
  abstract readonly status: SpanStatus;
  abstract readonly events: TimedEvent[];
  protected abstract readonly spanId: string;
  /** The lower half of its id; the upper one is that of the call's. */
  abstract readonly spanLow: number;
  /** The same of the span above it; both halves are 0 where the trace begins with it. */
  abstract readonly parentHigh: number;
  abstract readonly parentLow: number;

  abstract tellAttributes(sink: AttributeSink): void;

  get attributes(): Attributes {
    return attributesOf((sink) => this.tellAttributes(sink));
  }

  get trace(): CallTrace {
    return this.call.trace;
  }

  spanContext(): SpanContext {
    return { traceId: this.call.trace.traceId, spanId: this.spanId, traceFlags: recorded };
  }

  get startTime(): HrTime {
    return hrTime(this.startMs);
  }

  get endTime(): HrTime {
    return hrTime(this.endMs);
  }

  get duration(): HrTime {
    return hrTime(Math.max(this.endMs - this.startMs, 0));
  }

  get instrumentationScope(): { readonly name: string } {
    return scope;
  }

  get links(): [] {
    return noLinks;
  }

  get ended(): boolean {
    return true;
  }

  get droppedAttributesCount(): number {
    return 0;
  }

  get droppedEventsCount(): number {
    return 0;
  }

  get droppedLinksCount(): number {
    return 0;
  }
}

/** What somebody may have made up is not taken for a name: backends keep a list of all of them. */
const methodIsKnown = ({ grpcStatus, routeLocation, routeName }: FinishedCall): boolean =>
  routeLocation !== undefined || (routeName !== undefined && grpcStatus !== GrpcStatus.UNIMPLEMENTED);

/** The method as the semantic conventions for gRPC have it. */
const tellMethod = (call: FinishedCall, sink: AttributeSink): void => {
  sink.attribute('rpc.system.name', 'grpc');
  if (methodIsKnown(call)) {
    sink.attribute('rpc.method', call.method);
    return;
  }
  sink.attribute('rpc.method', '_OTHER');
  sink.attribute('rpc.method_original', call.method);
};

const addressKeys = {
  server: ['server.address', 'server.port'],
  client: ['client.address', 'client.port'],
  peer: ['network.peer.address', 'network.peer.port'],
} as const;

/** `host:port` or `[v6]:port` in two attributes. */
const tellAddress = ([addressKey, portKey]: readonly [string, string], address: string, sink: AttributeSink): void => {
  const colon = address.lastIndexOf(':');
  const hasPort = colon > 0 && !address.endsWith(']');
  const host = hasPort ? address.slice(0, colon) : address;
  if (host === '') return;
  sink.attribute(addressKey, host.startsWith('[') ? host.slice(1, -1) : host);
  const port = hasPort ? Number(address.slice(colon + 1)) : Number.NaN;
  if (port >= 0) sink.attribute(portKey, port);
};

/** To a client every status but OK is an error, to a server those that are its own fault; what a caller gave up is nobody's. */
const callFailed = ({ fate, grpcStatus, inbound }: FinishedCall): boolean =>
  fate !== 'ok' && fate !== 'cancelled' && (!inbound || serverErrors(grpcStatus));

const attemptFailed = ({ grpcStatus, outcome }: AttemptRecord): boolean =>
  outcome !== 'success' && outcome !== 'cancelled' && grpcStatus !== 0;

/** The one span of a call: of kind server inbound, client outbound. */
export class CallSpan extends FinishedSpan {
  get name(): string {
    return methodIsKnown(this.call) ? this.call.method : 'grpc';
  }

  get kind(): number {
    return this.call.inbound ? kindServer : kindClient;
  }

  get spanId(): string {
    return this.call.trace.spanId;
  }

  get spanLow(): number {
    return this.call.trace.spanLow;
  }

  get parentHigh(): number {
    return this.call.trace.parentHigh;
  }

  get parentLow(): number {
    return this.call.trace.parentLow;
  }

  get parentSpanContext(): SpanContext | undefined {
    const { parentSpanId, traceId } = this.call.trace;
    return parentSpanId === undefined ? undefined : { traceId, spanId: parentSpanId, traceFlags: recorded, isRemote: true };
  }

  get startMs(): number {
    return this.call.startMs;
  }

  get endMs(): number {
    return this.call.endMs;
  }

  get status(): SpanStatus {
    return callFailed(this.call) ? errorStatus(this.call.replyMessage) : statusUnset;
  }

  /** Few, since what an exporter takes for a span grows with them, and most calls are like any other. */
  tellAttributes(sink: AttributeSink): void {
    const { call } = this;
    const { attempts, cluster, inbound, peer, routeLocation, routeName } = call;
    tellMethod(call, sink);
    sink.attribute('rpc.status_code', statusName(call.grpcStatus));
    tellAddress(addressKeys.server, call.authority, sink);
    if (inbound) tellAddress(addressKeys.client, call.peerAddress, sink);
    if (peer !== undefined) sink.attribute('outrider.peer', cutText(peer));
    sink.attribute('outrider.fate', call.fate);
    sink.attribute('outrider.bytes_received', call.bytesReceived);
    sink.attribute('outrider.bytes_sent', call.bytesSent);
    if (routeName !== undefined)
      sink.attribute('outrider.route', cutText(routeLocation === undefined ? routeName : `${routeName} (${routeLocation})`));
    if (cluster !== undefined && !inbound) sink.attribute('outrider.cluster', cutText(cluster));
    if (attempts !== 1) sink.attribute('outrider.attempts', attempts);
    if (call.retriesExhausted) sink.attribute('outrider.retries_exhausted', true);
    if (!call.trace.sampled) sink.attribute('outrider.kept', 'failed');
    if (callFailed(call)) sink.attribute('error.type', call.fate === 'app_error' ? statusName(call.grpcStatus) : call.fate);
  }

  get events(): TimedEvent[] {
    const { attemptRecords, events, offsetMs, trace } = this.call;
    const told: TraceEvent[] = [];
    // The one span of an inbound call says of attempts at the local service what those of others would.
    if (!trace.spanPerAttempt && (attemptRecords.length > 1 || attemptRecords.some(attemptFailed))) {
      for (const attempt of attemptRecords)
        told.push({
          name: 'outrider.attempt',
          atMs: attempt.endMs,
          attributes: attributesOf((sink) => tellAttempt(attempt, sink)) as TraceEvent['attributes'],
        });
    }
    told.push(...events);
    told.sort((a, b) => a.atMs - b.atMs);
    return told.map(({ atMs, attributes, name }) => ({ name, time: hrTime(atMs + offsetMs), attributes: { ...attributes } }));
  }
}

const tellAttempt = (attempt: AttemptRecord, sink: AttributeSink): void => {
  const { endpoint, failure, grpcStatus, httpStatus, number, outcome, probe } = attempt;
  sink.attribute('outrider.attempt', number);
  if (endpoint !== undefined) tellAddress(addressKeys.peer, endpoint, sink);
  if (grpcStatus >= 0) sink.attribute('rpc.status_code', statusName(grpcStatus));
  if (outcome !== 'success') sink.attribute('outrider.outcome', outcome);
  if (httpStatus !== 0 && httpStatus !== httpOk) sink.attribute('http.response.status_code', httpStatus);
  if (probe) sink.attribute('outrider.circuit_breaker.probe', true);
  if (failure !== undefined) sink.attribute('outrider.reason', failure.reason);
  if (attemptFailed(attempt)) sink.attribute('error.type', failure?.reason ?? (grpcStatus < 0 ? outcome : statusName(grpcStatus)));
};

/** One attempt of an outbound call, below the call's span; its id is the one that the server has for its caller. */
export class AttemptSpan extends FinishedSpan {
  readonly #attempt: AttemptRecord;

  constructor(call: FinishedCall, attempt: AttemptRecord, resource: SpanResource) {
    super(call, resource);
    this.#attempt = attempt;
  }

  get name(): string {
    return `Attempt.${methodIsKnown(this.call) ? this.call.method : 'grpc'}`;
  }

  get kind(): number {
    return kindClient;
  }

  get spanId(): string {
    return this.call.trace.attemptSpanId(this.#attempt.number);
  }

  get spanLow(): number {
    return this.call.trace.attemptSpanLow(this.#attempt.number);
  }

  get parentHigh(): number {
    return this.call.trace.spanHigh;
  }

  get parentLow(): number {
    return this.call.trace.spanLow;
  }

  get parentSpanContext(): SpanContext {
    const { spanId, traceId } = this.call.trace;
    return { traceId, spanId, traceFlags: recorded };
  }

  get startMs(): number {
    return this.#attempt.startMs + this.call.offsetMs;
  }

  get endMs(): number {
    return this.#attempt.endMs + this.call.offsetMs;
  }

  get status(): SpanStatus {
    return attemptFailed(this.#attempt) ? errorStatus(this.#attempt.failure?.message) : statusUnset;
  }

  tellAttributes(sink: AttributeSink): void {
    tellMethod(this.call, sink);
    tellAttempt(this.#attempt, sink);
  }

  get events(): TimedEvent[] {
    return [];
  }
}
