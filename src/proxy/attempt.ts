// Above 500 lines: the one place that knows the whole state of an attempt; what answers mean, faults and timers have files of their own.
import { Deadline, type MeshError } from '../core/index.ts';
import { GrpcStatus, isGrpcContentType, longestGrpcTimeoutBytes, writeGrpcTimeout } from '../grpc/index.ts';
import { type Connection, ErrorCode, type HeaderBlock, type Stream, type StreamHandler, statusOf, Token } from '../http2/index.ts';
import {
  type AttemptOutcome,
  type Breaker,
  type OutlierResult,
  outlierResultOfHttp,
  outlierResultOfStatus,
  type PeakLatency,
  parsePushback,
  type ReportedLoad,
} from '../resilience/index.ts';
import type { AttemptRecord, CallTrace } from '../telemetry/index.ts';
import type { Cluster, Endpoint, EndpointOutcome, StreamWaiter, WaiterQueue } from '../upstream/index.ts';
import { loadReportIn, type RetrySigns, replyToMissingStatus, replyToReset, retrySignsIn, statusIn } from './answers.ts';
import type { BoundRoute } from './bound-table.ts';
import type { Call } from './call.ts';
import { headerListBytes, sanitizeResponse } from './headers.ts';
import { type LocalReply, localReply, replyToError } from './replies.ts';
import type { Faults, FaultTarget, InjectedFault } from './traffic/faults.ts';

type BreakerResult = 'succeed' | 'fail' | 'neutral';

const readLoad = (reported: ReportedLoad, block: HeaderBlock, nowMs: number): void => {
  const report = loadReportIn(block);
  if (report !== undefined) reported.report(report, nowMs);
};

/** Of `grpc-retry-pushback-ms`: not to be tried again. */
const noRetry = '-1';

const timeoutBytes = Buffer.alloc(longestGrpcTimeoutBytes);

/** What has happened to an attempt, as bits of one field. */
const Mark = {
  concluded: 1,
  /** Its answer has begun, where the breaker goes by how soon. */
  answered: 2,
  /** It began too late. */
  slow: 4,
  /** The balancer knows how long it took. */
  latencyTold: 8,
  /** The per-try timeout has passed, and it goes on beside the next one. */
  late: 16,
} as const;

/**
 * One try of one call: an endpoint, a breaker's permit, a stream. It is the handler of the upstream stream, waits in the endpoint's
 * queue, and its `Deadline` is the per-try timeout, the end of the hold, and the end of the server's silence, whichever is next; it may be
 * armed earlier than that, and is moved only when it expires. However it ends, it ends in `#conclude`, once; then the call decides what
 * follows.
 */
export class Attempt implements StreamHandler, StreamWaiter, FaultTarget {
  readonly #deadline = new Deadline(this);
  waiterQueue: WaiterQueue | undefined = undefined;
  waiterPrevious: StreamWaiter | undefined = undefined;
  waiterNext: StreamWaiter | undefined = undefined;
  waiterSinceMs = -1;
  endpoint: Endpoint | undefined = undefined;
  stream: Stream | undefined = undefined;
  /** Request bytes that have left, from the beginning of the request. */
  sentBytes = 0;

  /** From 1. */
  number = 0;
  readonly #call: Call;
  /** Bits of `Mark`. */
  #marks = 0;
  /** When server or request last moved: whole milliseconds in 32 bits, since a number with fractions in a field is an object of its own. */
  #activeMs = 0;
  #breaker: Breaker | undefined = undefined;
  #permit = 0;
  #httpStatus = 0;
  /** Response headers that wait for DATA or trailers, since a failing status in trailers can still be tried again. */
  #held: HeaderBlock | undefined = undefined;
  #previousAttempts = 0;
  /** What holds it up on purpose. */
  #fault: InjectedFault | undefined = undefined;
  /** What a trace will say of it, once it has ended; `undefined`: nobody will ask. */
  #record: AttemptRecord | undefined = undefined;
  /** How long the server is rate limited, as it said in its failing answer. */
  rateLimitedMs: number | undefined = undefined;

  constructor(call: Call) {
    this.#call = call;
  }

  /** Of its answer; 0 until that has begun. */
  get httpStatus(): number {
    return this.#httpStatus;
  }

  /** Whether a fault has held it up on purpose, or was to. */
  get delayed(): boolean {
    return this.#fault !== undefined && this.#fault.delayMs > 0;
  }

  // ---- stage: pick ----

  start(): void {
    const call = this.#call;
    this.number = ++call.attempts;
    const faults = call.route?.traffic?.faults;
    if (faults === undefined) this.proceed();
    else this.#beginWithFaults(faults);
  }

  /** Picks an endpoint, and asks it for a stream. */
  proceed(): void {
    const call = this.#call;
    if (call.finished || this.#concluded) return;
    const cluster = call.cluster as Cluster;
    const endpoint = cluster.pickEndpoint(call.tried, call.wish);
    if (endpoint === undefined) {
      call.refuse(cluster.unavailable(call.wish), this);
      return;
    }
    const { engine } = call.proxy;
    const { nowMs } = engine;
    const method = call.methodPath;
    const breaker = cluster.breakerFor(endpoint, method);
    const permit = breaker.tryEnter(nowMs);
    if (permit === 0) {
      call.refuse(cluster.circuitOpen(endpoint, method), this);
      return;
    }
    this.#breaker = breaker;
    this.#permit = permit;
    this.endpoint = endpoint;
    this.#previousAttempts = call.machine?.previousAttempts ?? 0;
    if (call.hedging && call.attempts > 1) call.noteTried(endpoint);
    endpoint.begin();
    const { retry } = call;
    if (retry !== undefined) {
      const { perTryIdleTimeoutMs } = retry;
      let dueMs = retry.perTryTimeoutMs > 0 ? nowMs + retry.perTryTimeoutMs - (this.#fault?.delayMs ?? 0) : Number.POSITIVE_INFINITY;
      if (perTryIdleTimeoutMs !== undefined) dueMs = Math.min(dueMs, nowMs + perTryIdleTimeoutMs);
      engine.wheel.arm(this.#deadline, dueMs);
    }
    const connection = endpoint.acquire(this, call.admission?.limits);
    if (connection !== undefined) this.onConnection(connection);
  }

  #beginWithFaults(faults: Faults): void {
    this.#fault = faults.draw(this.#call, this);
    if (this.#fault === undefined) this.proceed();
    else this.#fault.begin();
  }

  failByFault(outcome: AttemptOutcome, reply: LocalReply): void {
    if (this.#call.finished || this.#concluded) return;
    this.#conclude('neutral', 'cancelled');
    this.#fail(outcome, reply);
  }

  onConnection(connection: Connection): void {
    const call = this.#call;
    if (call.finished) return;
    const { request, replay } = call;
    if (call.endsAtMs !== Number.POSITIVE_INFINITY && !this.#writeTimeout(request, call.endsAtMs)) {
      call.endByDeadline();
      return;
    }
    const previous = this.#previousAttempts;
    if (previous > 0 || call.hedging) request.removeToken(Token.grpcPreviousRpcAttempts);
    if (previous > 0) request.addNumber(Token.grpcPreviousRpcAttempts, previous);
    if (call.trace !== undefined) call.trace.writeInto(request, this.number);
    // An upper bound first: what was removed from the block still counts in it.
    if (request.listSizeBytes > connection.peerMaxHeaderListBytes && headerListBytes(request) > connection.peerMaxHeaderListBytes) {
      this.#refuseHeaders(request, connection.peerMaxHeaderListBytes);
      return;
    }
    const length = replay === undefined ? 0 : replay.length;
    const stream = connection.open(this, request, call.requestEnded && length === 0);
    this.stream = stream;
    this.#fault?.pace(stream);
    const idleMs = call.retry?.perTryIdleTimeoutMs;
    if (idleMs !== undefined) this.#watchSilence(idleMs);
    if (length === 0) return;
    const kept = (replay as NonNullable<typeof replay>).bytes;
    this.sentBytes += stream.sendData(kept, 0, length, call.requestEnded);
    call.credit(this);
    if (length > (call.route as BoundRoute).route.bufferLimitBytes) call.outgrow(this);
  }

  onUnavailable(error: MeshError): void {
    const call = this.#call;
    call.proxy.engine.tick();
    if (call.finished || this.#concluded) return;
    if (error.reason === 'too_many_pending') {
      this.#conclude('neutral', 'cancelled');
      call.refuse(error, this);
      return;
    }
    // What we ourselves lack says nothing about the cluster.
    const ours = error.source === 'local';
    this.#conclude(ours || this.#speaksForItselfOnly ? 'neutral' : 'fail', 'error', ours ? undefined : 'local_origin_failure');
    this.#fail({ kind: 'connect_failure' }, replyToError(error));
  }

  // ---- upstream stream ----

  onHeaders(stream: Stream, block: HeaderBlock, endStream: boolean): void {
    this.#httpStatus = statusOf(block);
    const breaker = this.#breaker;
    if (breaker?.watchesSlowness === true)
      this.#marks |= breaker.isSlow(this.#waitedMs(this.#call.proxy.engine.nowMs)) ? Mark.answered | Mark.slow : Mark.answered;
    this.touch();
    if (endStream) {
      this.#onAnswerEnd(stream, block, true);
      return;
    }
    const type = block.indexOf(Token.contentType);
    const isGrpc = type < 0 || isGrpcContentType(block.bytes, block.valueStart[type] as number, block.valueEnd[type] as number);
    if (this.#httpStatus !== 200 || !isGrpc) {
      this.#resetStream(stream, ErrorCode.cancel);
      this.#onForeignAnswer(block);
      return;
    }
    const call = this.#call;
    const latency = this.endpoint?.latency;
    if (latency !== undefined) this.#observeLatency(latency, true, call.proxy.engine.nowMs);
    const { route } = call.route as BoundRoute;
    if (
      (call.retry === undefined && !call.hedgeIsOpen) ||
      !call.requestEnded ||
      call.replay === undefined ||
      route.retryHeadersHoldMs <= 0
    ) {
      this.#commit(block);
      return;
    }
    this.#held = stream.connection.keepBlock();
    // From here on this is the deadline of the hold: the answer has begun, so the per-try timeout is over. Silence may end it before.
    const { wheel, nowMs } = call.proxy.engine;
    wheel.arm(this.#deadline, nowMs + Math.min(route.retryHeadersHoldMs, call.retry?.perTryIdleTimeoutMs ?? Number.POSITIVE_INFINITY));
  }

  onData(stream: Stream, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    const call = this.#call;
    if (call.sizes !== undefined && !call.sizes.takeResponse(bytes, start, end)) {
      stream.consume(end - start);
      call.endByResponseSize();
      return;
    }
    if (endStream) {
      this.#onMissingTrailers(stream, bytes, start, end);
      return;
    }
    if (this.#held !== undefined) this.releaseHeld();
    call.bytesSent += end - start;
    const sent = call.downstream.sendData(bytes, start, end, false);
    stream.consume(sent);
    this.touch();
    if (call.idleWatched) call.touch();
  }

  onTrailers(stream: Stream, block: HeaderBlock): void {
    this.#onAnswerEnd(stream, block, false);
  }

  onReset(stream: Stream, code: number, unprocessed: boolean): void {
    if (this.#concluded) return;
    const { cluster } = this.#call;
    if (!stream.connectionLost) (cluster as Cluster).stats.upstreamRqRxReset++;
    if (code === ErrorCode.cancel && !stream.connectionLost && this.#call.deadlineIsDue) {
      this.#endByDeadlineOfServer();
      return;
    }
    this.#conclude(unprocessed ? 'neutral' : 'fail', 'error', unprocessed ? undefined : 'local_origin_failure');
    const reply = replyToReset((cluster as Cluster).name, (this.endpoint as Endpoint).key, stream, code);
    const servedOthers = stream.isLeftOut ? stream.connection.lastProcessedStreamId > 0 : unprocessed && stream.isAboveLimit;
    this.#fail({ kind: 'reset', code, unprocessed, servedOthers, requestSent: true }, reply);
  }

  /** Request DATA that had to wait has left for the server. */
  onSent(_stream: Stream, bytes: number): void {
    this.sentBytes += bytes;
    this.#call.credit(this);
    this.touch();
    if (this.#call.idleWatched) this.#call.touch();
  }

  onSlowReader(stream: Stream): void {
    if (!this.#concluded) this.#call.onSlowServer(this, stream, (this.endpoint as Endpoint).key);
  }

  // ---- time ----

  expire(): void {
    const call = this.#call;
    const nowMs = call.proxy.engine.tick();
    if (call.finished || this.#concluded) return;
    const idleMs = this.stream === undefined ? undefined : call.retry?.perTryIdleTimeoutMs;
    if (idleMs !== undefined && this.#isSilent(idleMs)) this.#onSilence(idleMs);
    else if (this.#held !== undefined) this.releaseHeld();
    else if (nowMs >= this.#perTryDueMs) this.#onLate();
    else this.#armNext(idleMs);
  }

  /** Infinite where it has no such timeout, or where that is over. */
  get #perTryDueMs(): number {
    const { downstream, retry } = this.#call;
    if (retry === undefined || retry.perTryTimeoutMs <= 0 || downstream.headersSent || (this.#marks & Mark.late) !== 0)
      return Number.POSITIVE_INFINITY;
    return this.#startedMs + retry.perTryTimeoutMs - (this.#fault?.delayMs ?? 0);
  }

  /** When it asked for its stream; in whole milliseconds where it had to wait for that. */
  get #startedMs(): number {
    if (this.waiterSinceMs >= 0) return this.waiterSinceMs;
    return this.stream === undefined ? this.#call.proxy.engine.nowMs : this.stream.openedAtMs;
  }

  #armNext(idleMs: number | undefined): void {
    const { nowMs, wheel } = this.#call.proxy.engine;
    const idleDueMs = idleMs === undefined ? Number.POSITIVE_INFINITY : nowMs + idleMs - this.#silentMs;
    wheel.arm(this.#deadline, Math.min(this.#perTryDueMs, idleDueMs));
  }

  // ---- silence: `per_try_idle_timeout`, from the end of the request on ----

  /** The server has moved, or what it gets. */
  touch(): void {
    this.#activeMs = Math.ceil(this.#call.proxy.engine.nowMs) | 0;
  }

  /** Never more than it is; right for 24 days. */
  get #silentMs(): number {
    return ((Math.floor(this.#call.proxy.engine.nowMs) | 0) - this.#activeMs) | 0;
  }

  #watchSilence(idleMs: number): void {
    this.touch();
    const { nowMs, wheel } = this.#call.proxy.engine;
    if (!this.#deadline.armed || this.#deadline.dueMs > nowMs + idleMs) wheel.arm(this.#deadline, nowMs + idleMs);
  }

  /** Whether it is the server that has not said anything for that long; a caller that does not read keeps it from going on. */
  #isSilent(idleMs: number): boolean {
    const { requestEnded, downstream } = this.#call;
    if (requestEnded && this.stream?.queuedBytes === 0 && downstream.queuedBytes === 0) return this.#silentMs >= idleMs;
    this.touch();
    return false;
  }

  #onSilence(idleMs: number): void {
    const call = this.#call;
    const cluster = call.cluster as Cluster;
    cluster.stats.upstreamRqPerTryIdleTimeout++;
    this.abandon('timeout');
    const message = `cluster ${cluster.name}: ${(this.endpoint as Endpoint).key} was silent for per_try_idle_timeout (${idleMs} ms) of ${call.rule}`;
    this.#fail({ kind: 'per_try_timeout', requestSent: true }, localReply('per_try_timeout', message));
  }

  #onLate(): void {
    const call = this.#call;
    const cluster = call.cluster as Cluster;
    cluster.stats.upstreamRqPerTryTimeout++;
    this.#marks |= Mark.late;
    if (call.rivalry?.hedgeLateAttempt() === true) {
      if (!this.#concluded) this.#armNext(this.stream === undefined ? undefined : call.retry?.perTryIdleTimeoutMs);
      return;
    }
    const requestSent = this.stream !== undefined;
    const { retry } = call;
    this.abandon('timeout');
    const message = `cluster ${cluster.name}: ${(this.endpoint as Endpoint).key} did not answer within per_try_timeout (${retry?.perTryTimeoutMs} ms) of ${call.rule}`;
    this.#fail({ kind: 'per_try_timeout', requestSent }, localReply('per_try_timeout', message));
  }

  /** Response headers go downstream: from here on the call is committed to this attempt. */
  releaseHeld(): void {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    this.#commit(held);
    this.#call.proxy.engine.returnBlock(held);
  }

  /** The call ends, or goes on without this attempt: the server learns that nobody waits. */
  abandon(result: 'neutral' | 'timeout'): void {
    if (this.#concluded) return;
    const { stream } = this;
    if (stream === undefined) this.endpoint?.cancel(this);
    else if (!stream.closed) {
      (this.#call.cluster as Cluster).stats.upstreamRqTxReset++;
      this.#resetStream(stream, ErrorCode.cancel);
    }
    // Time that was spent on purpose is no failure of the service.
    if (result === 'timeout' && this.#fault === undefined) this.#conclude('fail', 'timeout', 'local_origin_failure');
    else this.#conclude('neutral', 'cancelled');
    this.#dropHeld();
  }

  /** Whether another attempt would meet an open breaker; with breakers by endpoint, whether it would meet one everywhere. */
  breakerRefuses(nowMs: number): boolean {
    const cluster = this.#call.cluster as Cluster;
    if (cluster.breakers.scope === 'endpoint') return cluster.endpoints.every((endpoint) => cluster.isOpen(endpoint));
    return this.#breaker?.refuses(nowMs) ?? false;
  }

  // ---- how it ends ----

  /**
   * An endpoint that cannot be reached says nothing about the cluster while the call can still go elsewhere: one of two instances
   * that restarts would otherwise open the breaker for both.
   */
  get #speaksForItselfOnly(): boolean {
    const { cluster, tried, wish } = this.#call;
    const { breakers } = cluster as Cluster;
    if (breakers.scope === 'endpoint') return false;
    return (cluster as Cluster).untriedEndpoints([...(tried ?? []), this.endpoint as Endpoint], wish) > 0;
  }

  #onAnswerEnd(stream: Stream, block: HeaderBlock, trailersOnly: boolean): void {
    if (this.#concluded) return;
    const status = statusIn(block);
    if (status < 0) {
      this.#onMissingStatus(stream, block);
      return;
    }
    const call = this.#call;
    if (status === GrpcStatus.DEADLINE_EXCEEDED && call.deadlineIsDue) {
      this.#endByDeadlineOfServer();
      if (!stream.endSent) this.#resetStream(stream, ErrorCode.noError);
      return;
    }
    const ok = status === GrpcStatus.OK;
    const pushback = ok ? undefined : this.#readPushback(block);
    const unprocessed = !ok && trailersOnly && this.#saysUnprocessed(stream, block);
    // What has been counted further down only passed through here: the breakers of all hops would open for it, one after the other.
    if (pushback === noRetry) this.#conclude('neutral', 'error');
    else {
      const result = this.#breaker?.isFailure(status) === true ? 'fail' : 'succeed';
      this.#conclude(
        unprocessed && this.#speaksForItselfOnly ? 'neutral' : result,
        ok ? 'success' : 'error',
        outlierResultOfStatus(status),
      );
    }
    if (this.#record !== undefined) this.#record.grpcStatus = status;
    const reported = this.endpoint?.reportedLoad;
    if (reported !== undefined) readLoad(reported, block, call.proxy.engine.nowMs);
    // The request may still be on its way: the server has said all that it will say (RFC 9113 8.1).
    if (!stream.endSent) this.#resetStream(stream, ErrorCode.noError);
    if (!ok && (call.retry !== undefined || call.hedgeIsOpen || unprocessed) && !call.downstream.headersSent) {
      const { rateLimited, retriableHeader } = this.#readSigns(block);
      if (!call.onAttemptFailed(this, { kind: 'grpc', status, rateLimited, retriableHeader, unprocessed }, { kind: 'forward' }, pushback)) {
        this.#dropHeld();
        return;
      }
    }
    call.commitTo(this);
    sanitizeResponse(block);
    if (trailersOnly && call.setCookie !== undefined) block.add(Token.setCookie, call.setCookie);
    if (trailersOnly) call.route?.traffic?.editResponse(call, block);
    if (trailersOnly) call.downstream.sendHeaders(block, true);
    else {
      if (this.#held !== undefined) this.releaseHeld();
      call.downstream.sendTrailers(block);
    }
    call.finish(ok ? 'ok' : 'app_error', status);
  }

  /** Value of `grpc-retry-pushback-ms` in a failing answer; our own word stands there where retries further down are used up. */
  #readPushback(block: HeaderBlock): string | undefined {
    const call = this.#call;
    if (call.forbidsRetry) block.set(Token.grpcRetryPushbackMs, noRetry);
    const at = block.indexOf(Token.grpcRetryPushbackMs);
    if (at < 0) return undefined;
    const pushback = block.value(at);
    if (parsePushback(pushback) < 0) call.retriesExhausted = true;
    return pushback;
  }

  /** Whether it is a sidecar's word that its service never saw the call; believed of whoever has shown a certificate. */
  #saysUnprocessed(stream: Stream, block: HeaderBlock): boolean {
    if (block.indexOf(Token.xOutriderUnprocessed) < 0 || this.endpoint?.peerOf(stream) === undefined) return false;
    (this.#call.cluster as Cluster).stats.upstreamRqUnprocessed++;
    return true;
  }

  /** The server's timer for the deadline that we forwarded was a little faster than ours for the same one. */
  #endByDeadlineOfServer(): void {
    const call = this.#call;
    this.#conclude(call.deadlineReason === 'route_timeout' ? 'fail' : 'neutral', 'timeout');
    this.#dropHeld();
    call.endByDeadline();
  }

  /** END_STREAM on DATA: the answer has no trailers, and so no status. */
  #onMissingTrailers(stream: Stream, bytes: Buffer, start: number, end: number): void {
    if (this.#concluded) return;
    if (end > start) {
      this.releaseHeld();
      this.#call.bytesSent += end - start;
      stream.consume(this.#call.downstream.sendData(bytes, start, end, false));
    }
    this.#onMissingStatus(stream, undefined);
  }

  #onMissingStatus(stream: Stream, block: HeaderBlock | undefined): void {
    this.#conclude('fail', 'error', this.#httpStatus === 200 ? 'server_error' : outlierResultOfHttp(this.#httpStatus));
    if (!stream.endSent) this.#resetStream(stream, ErrorCode.noError);
    this.#failHttp(block);
  }

  /** The peer would end the connection, and with it the calls of others. */
  #refuseHeaders(request: HeaderBlock, limitBytes: number): void {
    this.#conclude('neutral', 'cancelled');
    const { name } = this.#call.cluster as Cluster;
    const message = `cluster ${name}: ${(this.endpoint as Endpoint).key} takes headers of ${limitBytes} bytes, these have ${headerListBytes(request)}; send less metadata`;
    this.#call.refuse(localReply('headers_too_large', message), this);
  }

  /** Not gRPC at all: an error page, or another protocol. */
  #onForeignAnswer(block: HeaderBlock): void {
    this.#conclude('fail', 'error', outlierResultOfHttp(this.#httpStatus));
    this.#failHttp(block);
  }

  #failHttp(block: HeaderBlock | undefined): void {
    const call = this.#call;
    const from = block ?? this.#held;
    const { rateLimited = false, retriableHeader = false } = from === undefined ? {} : this.#readSigns(from);
    const reply = replyToMissingStatus((call.cluster as Cluster).name, (this.endpoint as Endpoint).key, this.#httpStatus);
    this.#fail({ kind: 'http', httpStatus: this.#httpStatus, rateLimited, retriableHeader }, reply);
  }

  #readSigns(block: HeaderBlock): RetrySigns {
    const { proxy, retry } = this.#call;
    const signs = retrySignsIn(block, this.#held, retry, proxy.engine.clock.wallNow());
    this.rateLimitedMs = signs.rateLimitedMs;
    return signs;
  }

  #fail(outcome: AttemptOutcome, reply: LocalReply): void {
    this.#dropHeld();
    if (this.#record !== undefined) this.#record.failure = reply;
    this.#call.onAttemptFailed(this, outcome, { kind: 'local', reply }, undefined);
  }

  get #concluded(): boolean {
    return (this.#marks & Mark.concluded) !== 0;
  }

  /** The only place where an attempt ends. `judged` is what it says about the endpoint, `undefined` where it says nothing. */
  #conclude(result: BreakerResult, outcome: EndpointOutcome, judged?: OutlierResult): void {
    if (this.#concluded) return;
    this.#marks |= Mark.concluded;
    const { cluster, proxy, trace } = this.#call;
    const { wheel, nowMs } = proxy.engine;
    wheel.cancel(this.#deadline);
    this.#fault?.cancel();
    if (trace !== undefined && (trace.sampled || outcome !== 'success')) this.#recordFor(trace, outcome, nowMs);
    const { endpoint } = this;
    if (endpoint !== undefined) {
      endpoint.end(outcome);
      if (endpoint.latency !== undefined && result !== 'neutral') this.#observeLatency(endpoint.latency, result === 'succeed', nowMs);
      if (judged !== undefined) (cluster as Cluster).judge(endpoint, judged, nowMs);
    }
    this.#report(result, nowMs);
  }

  #recordFor(trace: CallTrace, outcome: EndpointOutcome, endMs: number): void {
    const record = {
      number: this.number,
      startMs: Math.min(Math.max(this.#startedMs, this.#call.startMs), endMs),
      endMs,
      endpoint: this.endpoint?.key,
      httpStatus: this.#httpStatus,
      probe: (this.#permit & 1) === 1,
      outcome,
      grpcStatus: -1,
      failure: undefined,
    };
    this.#record = record;
    trace.attemptEnded(record);
  }

  /** The beginning of an answer counts, not its end: a stream may last for hours. */
  #observeLatency(latency: PeakLatency, answered: boolean, nowMs: number): void {
    if ((this.#marks & Mark.latencyTold) !== 0) return;
    this.#marks |= Mark.latencyTold;
    const tookMs = Math.max(nowMs - this.#startedMs, 0);
    if (answered) latency.observe(tookMs, nowMs);
    else latency.observeFailure(tookMs, nowMs);
  }

  #report(result: BreakerResult, nowMs: number): void {
    const permit = this.#permit;
    if (permit === 0) return;
    this.#permit = 0;
    const breaker = this.#breaker as Breaker;
    if (result === 'fail') breaker.fail(permit, nowMs);
    else if (breaker.watchesSlowness && this.#isSlow(breaker, nowMs)) breaker.failSlowly(permit, nowMs);
    else if (result === 'succeed') breaker.succeed(permit, nowMs);
    else breaker.neutral(permit, nowMs);
  }

  /** Whether the answer began too late, or has not begun and is too late now. */
  #isSlow(breaker: Breaker, nowMs: number): boolean {
    return (this.#marks & Mark.answered) === 0 ? breaker.isSlow(this.#waitedMs(nowMs)) : (this.#marks & Mark.slow) !== 0;
  }

  /** How long the server has had all that it waits for. */
  #waitedMs(nowMs: number): number {
    const call = this.#call;
    if (!call.requestEnded || this.stream === undefined) return 0;
    return nowMs - Math.max(this.#startedMs, call.requestEndedMs);
  }

  #commit(block: HeaderBlock): void {
    const call = this.#call;
    call.commitTo(this);
    sanitizeResponse(block);
    if (call.setCookie !== undefined) block.add(Token.setCookie, call.setCookie);
    call.route?.traffic?.editResponse(call, block);
    call.downstream.sendHeaders(block, false);
    call.dropReplay();
    const { engine } = call.proxy;
    // A per-try timeout ends with the answer's beginning; a stream's probe has succeeded with it.
    const idleMs = call.retry?.perTryIdleTimeoutMs;
    if (idleMs === undefined) engine.wheel.cancel(this.#deadline);
    else if (!this.#deadline.armed) this.#armNext(idleMs);
    if ((this.#permit & 1) === 1) this.#report('succeed', engine.nowMs);
  }

  /** Tells the server that nobody waits any more. What it sees as the caller's own deadline (see `grpc-timeout`) is a little less than ours. */
  #resetStream(stream: Stream, code: number): void {
    const { endsAtMs } = this.#call;
    if (endsAtMs !== Number.POSITIVE_INFINITY) stream.patienceMs = 0.95 * (endsAtMs - stream.openedAtMs);
    (this.endpoint as Endpoint).resetStream(stream, code);
  }

  #dropHeld(): void {
    if (this.#held === undefined) return;
    this.#call.proxy.engine.returnBlock(this.#held);
    this.#held = undefined;
  }

  /** Writes what remains of the deadline; false where nothing does. */
  #writeTimeout(request: HeaderBlock, dueMs: number): boolean {
    const remainingMs = dueMs - this.#call.proxy.engine.nowMs;
    if (remainingMs <= 0) return false;
    const length = writeGrpcTimeout(remainingMs, timeoutBytes, 0);
    request.removeToken(Token.grpcTimeout);
    request.addBytes(Token.grpcTimeout, timeoutBytes, 0, length);
    return true;
  }
}
