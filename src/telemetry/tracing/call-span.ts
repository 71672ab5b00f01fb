import type { Attributes, HrTime, SpanContext, SpanStatus } from '@opentelemetry/api';
import type { ReadableSpan, TimedEvent } from '@opentelemetry/sdk-trace';
import { GrpcStatus, statusName } from '../../grpc/index.ts';
import type { AttemptRecord, TraceEvent } from './call-trace.ts';
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
  abstract readonly attributes: Attributes;
  abstract readonly events: TimedEvent[];
  protected abstract readonly spanId: string;

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
const methodAttributes = (call: FinishedCall): Attributes =>
  methodIsKnown(call)
    ? { 'rpc.system.name': 'grpc', 'rpc.method': call.method }
    : { 'rpc.system.name': 'grpc', 'rpc.method': '_OTHER', 'rpc.method_original': call.method };

/** `host:port` or `[v6]:port` in two attributes. */
const addAddress = (attributes: Attributes, prefix: 'server' | 'client' | 'network.peer', address: string): void => {
  const colon = address.lastIndexOf(':');
  const hasPort = colon > 0 && !address.endsWith(']');
  const host = hasPort ? address.slice(0, colon) : address;
  if (host === '') return;
  attributes[`${prefix}.address`] = host.startsWith('[') ? host.slice(1, -1) : host;
  const port = hasPort ? Number(address.slice(colon + 1)) : Number.NaN;
  if (port >= 0) attributes[`${prefix}.port`] = port;
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
  get attributes(): Attributes {
    const { call } = this;
    const { attempts, cluster, inbound, peer, routeLocation, routeName } = call;
    const attributes = methodAttributes(call);
    attributes['rpc.status_code'] = statusName(call.grpcStatus);
    addAddress(attributes, 'server', call.authority);
    if (inbound) addAddress(attributes, 'client', call.peerAddress);
    if (peer !== undefined) attributes['outrider.peer'] = cutText(peer);
    attributes['outrider.fate'] = call.fate;
    attributes['outrider.bytes_received'] = call.bytesReceived;
    attributes['outrider.bytes_sent'] = call.bytesSent;
    if (routeName !== undefined)
      attributes['outrider.route'] = cutText(routeLocation === undefined ? routeName : `${routeName} (${routeLocation})`);
    if (cluster !== undefined && !inbound) attributes['outrider.cluster'] = cutText(cluster);
    if (attempts !== 1) attributes['outrider.attempts'] = attempts;
    if (call.retriesExhausted) attributes['outrider.retries_exhausted'] = true;
    if (!call.trace.sampled) attributes['outrider.kept'] = 'failed';
    if (callFailed(call)) attributes['error.type'] = call.fate === 'app_error' ? statusName(call.grpcStatus) : call.fate;
    return attributes;
  }

  get events(): TimedEvent[] {
    const { attemptRecords, events, offsetMs, trace } = this.call;
    const told: TraceEvent[] = [];
    // The one span of an inbound call says of attempts at the local service what those of others would.
    if (!trace.spanPerAttempt && (attemptRecords.length > 1 || attemptRecords.some(attemptFailed))) {
      for (const attempt of attemptRecords)
        told.push({ name: 'outrider.attempt', atMs: attempt.endMs, attributes: attemptAttributes(attempt) as TraceEvent['attributes'] });
    }
    told.push(...events);
    told.sort((a, b) => a.atMs - b.atMs);
    return told.map(({ atMs, attributes, name }) => ({ name, time: hrTime(atMs + offsetMs), attributes: { ...attributes } }));
  }
}

const attemptAttributes = (attempt: AttemptRecord): Attributes => {
  const { endpoint, failure, grpcStatus, httpStatus, number, outcome, probe } = attempt;
  const attributes: Attributes = { 'outrider.attempt': number };
  if (endpoint !== undefined) addAddress(attributes, 'network.peer', endpoint);
  if (grpcStatus >= 0) attributes['rpc.status_code'] = statusName(grpcStatus);
  if (outcome !== 'success') attributes['outrider.outcome'] = outcome;
  if (httpStatus !== 0 && httpStatus !== httpOk) attributes['http.response.status_code'] = httpStatus;
  if (probe) attributes['outrider.circuit_breaker.probe'] = true;
  if (failure !== undefined) attributes['outrider.reason'] = failure.reason;
  if (attemptFailed(attempt)) attributes['error.type'] = failure?.reason ?? (grpcStatus < 0 ? outcome : statusName(grpcStatus));
  return attributes;
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

  get attributes(): Attributes {
    return { ...methodAttributes(this.call), ...attemptAttributes(this.#attempt) };
  }

  get events(): TimedEvent[] {
    return [];
  }
}
