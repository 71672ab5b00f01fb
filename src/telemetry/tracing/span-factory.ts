import type { Attributes, HrTime, SpanContext, SpanStatus } from '@opentelemetry/api';
import type { ReadableSpan, TimedEvent } from '@opentelemetry/sdk-trace';
import { GrpcStatus, statusName } from '../../grpc/index.ts';
import type { EndedCall } from '../ended-call.ts';
import type { AttemptRecord, CallTrace, TraceEvent } from './call-trace.ts';
import { serverErrors } from './failures.ts';
import type { SpanResource } from './span-resource.ts';

/** Numbers of the API's enumerations, which would be loaded for nothing else. */
const kindServer = 1;
const kindClient = 2;
const statusUnset = 0;
const statusError = 2;
const recorded = 1;

/** Texts come from the network, and a span of Jaeger's has to fit into a datagram. */
const longestText = 1_024;
const longestMethod = 256;
const cut = (text: string, most = longestText): string => (text.length > most ? `${text.slice(0, most)}...` : text);

const nanosPerMs = 1e6;
const hrTime = (ms: number): HrTime => {
  const seconds = Math.floor(ms / 1_000);
  return [seconds, Math.min(Math.round((ms - seconds * 1_000) * nanosPerMs), 999_999_999)];
};

const scope = { name: 'outrider' };

interface SpanParts {
  readonly name: string;
  readonly kind: number;
  readonly context: SpanContext;
  readonly parent: SpanContext | undefined;
  /** Since the Unix epoch. */
  readonly startMs: number;
  readonly endMs: number;
  readonly status: SpanStatus;
  readonly attributes: Attributes;
  readonly events: TimedEvent[];
}

/** What the SDK's exporters take, made when a call has ended and is kept. */
class FinishedSpan implements ReadableSpan {
  readonly name: string;
  readonly kind: number;
  readonly parentSpanContext?: SpanContext;
  readonly startTime: HrTime;
  readonly endTime: HrTime;
  readonly duration: HrTime;
  readonly status: SpanStatus;
  readonly attributes: Attributes;
  readonly events: TimedEvent[];
  readonly resource: SpanResource;
  readonly links = [];
  readonly ended = true;
  readonly instrumentationScope = scope;
  readonly droppedAttributesCount = 0;
  readonly droppedEventsCount = 0;
  readonly droppedLinksCount = 0;
  readonly #context: SpanContext;

  constructor(parts: SpanParts, resource: SpanResource) {
    this.name = parts.name;
    this.kind = parts.kind;
    this.#context = parts.context;
    if (parts.parent !== undefined) this.parentSpanContext = parts.parent;
    this.startTime = hrTime(parts.startMs);
    this.endTime = hrTime(parts.endMs);
    this.duration = hrTime(Math.max(parts.endMs - parts.startMs, 0));
    this.status = parts.status;
    this.attributes = parts.attributes;
    this.events = parts.events;
    this.resource = resource;
  }

  spanContext(): SpanContext {
    return this.#context;
  }
}

interface Method {
  /** Name of its spans. */
  readonly name: string;
  readonly attributes: Attributes;
}

/**
 * The method as the semantic conventions for gRPC have it, under their present names and the former ones that do not contradict them. What
 * somebody may have made up is `_OTHER`, since backends keep a list of all names.
 */
const methodOf = ({ grpcStatus, path, routeLocation, routeName }: EndedCall): Method => {
  const original = cut(path.slice(1), longestMethod);
  const known = routeLocation !== undefined || (routeName !== undefined && grpcStatus !== GrpcStatus.UNIMPLEMENTED);
  const system = { 'rpc.system.name': 'grpc', 'rpc.system': 'grpc' };
  if (!known) return { name: 'grpc', attributes: { ...system, 'rpc.method': '_OTHER', 'rpc.method_original': original } };
  const service = original.slice(0, Math.max(original.indexOf('/'), 0));
  return { name: original, attributes: { ...system, 'rpc.method': original, 'rpc.service': service } };
};

const statusAttributes = (grpcStatus: number): Attributes => ({
  'rpc.status_code': statusName(grpcStatus),
  'rpc.grpc.status_code': grpcStatus,
});

/** `host:port` or `[v6]:port` in two attributes. */
const addressAttributes = (prefix: string, address: string): Attributes => {
  const [, v6, name, port] = /^(?:\[(.*)\]|(.*?))(?::(\d+))?$/.exec(address) ?? [];
  const host = v6 ?? name ?? '';
  if (host === '') return {};
  return { [`${prefix}.address`]: cut(host), ...(port === undefined ? {} : { [`${prefix}.port`]: Number(port) }) };
};

const callAttributes = (call: EndedCall, trace: CallTrace): Attributes => {
  const { authority, bytesReceived, bytesSent, cluster, direction, fate, grpcStatus, peerIdentity, routeLocation, routeName } = call;
  const who = peerIdentity?.spiffeId ?? peerIdentity?.dnsSans[0];
  return {
    ...statusAttributes(grpcStatus),
    ...addressAttributes('server', authority),
    ...(direction === 'inbound' ? addressAttributes('client', call.peerAddress) : {}),
    ...(who === undefined ? {} : { 'outrider.peer': cut(who) }),
    'outrider.direction': direction,
    'outrider.fate': fate,
    ...(routeName === undefined ? {} : { 'outrider.route': cut(routeName) }),
    ...(routeLocation === undefined ? {} : { 'outrider.route.location': cut(routeLocation) }),
    ...(cluster === undefined || direction === 'inbound' ? {} : { 'outrider.cluster': cut(cluster) }),
    'outrider.attempts': call.attempts,
    ...(call.retriesExhausted ? { 'outrider.retries_exhausted': true } : {}),
    'outrider.bytes_received': bytesReceived,
    'outrider.bytes_sent': bytesSent,
    ...(trace.sampled ? {} : { 'outrider.kept': 'failed' }),
  };
};

/** To a client every status but OK is an error, to a server those that are its own fault; what a caller gave up is nobody's. */
const isError = ({ direction, fate, grpcStatus }: EndedCall): boolean => {
  if (fate === 'ok' || fate === 'cancelled') return false;
  return direction === 'outbound' || serverErrors(grpcStatus);
};

const attemptFailed = ({ grpcStatus, outcome }: AttemptRecord): boolean =>
  outcome !== 'success' && outcome !== 'cancelled' && grpcStatus !== 0;

const attemptAttributes = ({ endpoint, failure, grpcStatus, httpStatus, number, outcome, probe }: AttemptRecord): Attributes => ({
  'outrider.attempt': number,
  'outrider.outcome': outcome,
  ...(endpoint === undefined ? {} : addressAttributes('network.peer', endpoint)),
  ...(grpcStatus < 0 ? {} : statusAttributes(grpcStatus)),
  ...(httpStatus === 0 || httpStatus === 200 ? {} : { 'http.response.status_code': httpStatus }),
  ...(probe ? { 'outrider.circuit_breaker.probe': true } : {}),
  ...(failure === undefined ? {} : { 'outrider.reason': failure.reason }),
  ...(attemptFailed({ grpcStatus, outcome } as AttemptRecord)
    ? { 'error.type': failure?.reason ?? (grpcStatus < 0 ? outcome : statusName(grpcStatus)) }
    : {}),
});

/** Makes the spans of a call: the one of the call, and outbound one of each attempt below it. */
export class SpanFactory {
  readonly #resource: SpanResource;

  constructor(resource: SpanResource) {
    this.#resource = resource;
  }

  /** @param offsetMs what to add to monotonic times. */
  spansOf(call: EndedCall, trace: CallTrace, startMs: number, endMs: number, offsetMs: number): readonly ReadableSpan[] {
    const { traceId } = trace;
    const contextOf = (spanId: string): SpanContext => ({ traceId, spanId, traceFlags: recorded });
    const context = contextOf(trace.spanId);
    const { parentSpanId } = trace;
    const method = methodOf(call);
    const failed = isError(call);
    const message = call.replyMessage;
    const span = new FinishedSpan(
      {
        name: method.name,
        kind: call.direction === 'inbound' ? kindServer : kindClient,
        context,
        parent: parentSpanId === undefined ? undefined : { ...contextOf(parentSpanId), isRemote: true },
        startMs: startMs + offsetMs,
        endMs: endMs + offsetMs,
        status: failed ? { code: statusError, ...(message === undefined ? {} : { message: cut(message) }) } : { code: statusUnset },
        attributes: {
          ...method.attributes,
          ...callAttributes(call, trace),
          ...(failed ? { 'error.type': call.fate === 'app_error' ? statusName(call.grpcStatus) : call.fate } : {}),
        },
        events: this.#events(trace, offsetMs),
      },
      this.#resource,
    );
    if (!trace.spanPerAttempt || trace.attempts === undefined) return [span];
    const cluster = call.cluster === undefined ? {} : { 'outrider.cluster': cut(call.cluster) };
    const spans: ReadableSpan[] = [span];
    for (const attempt of trace.attempts) {
      const { failure } = attempt;
      const attemptSpan = {
        name: `Attempt.${method.name}`,
        kind: kindClient,
        context: contextOf(trace.attemptSpanId(attempt.number)),
        parent: context,
        startMs: attempt.startMs + offsetMs,
        endMs: attempt.endMs + offsetMs,
        status: attemptFailed(attempt)
          ? { code: statusError, ...(failure === undefined ? {} : { message: cut(failure.message) }) }
          : { code: statusUnset },
        attributes: { ...method.attributes, ...cluster, ...attemptAttributes(attempt) },
        events: [],
      };
      spans.push(new FinishedSpan(attemptSpan, this.#resource));
    }
    return spans;
  }

  #events({ attempts = [], events = [], spanPerAttempt }: CallTrace, offsetMs: number): TimedEvent[] {
    const told: TraceEvent[] = [...events];
    // The one span of an inbound call says of attempts at the local service what those of others would.
    if (!spanPerAttempt && (attempts.length > 1 || attempts.some(attemptFailed))) {
      for (const attempt of attempts)
        told.push({ name: 'outrider.attempt', atMs: attempt.endMs, attributes: attemptAttributes(attempt) as TraceEvent['attributes'] });
      told.sort((a, b) => a.atMs - b.atMs);
    }
    return told.map(({ atMs, attributes, name }) => ({ name, time: hrTime(atMs + offsetMs), attributes: { ...attributes } }));
  }
}
