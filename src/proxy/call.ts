// Above 500 lines: the one place that knows the whole state of a call; stages, attempts, rivals, replays and traffic have files of their own.
import { Deadline, type Fate, type MeshError } from '../core/index.ts';
import { GrpcStatus } from '../grpc/index.ts';
import { ErrorCode, type HeaderBlock, readUint32, type Stream, type StreamHandler, Token } from '../http2/index.ts';
import type { HedgePolicyOptions, RetryPolicy } from '../policy/index.ts';
import {
  type AttemptOutcome,
  type DeadlineReason,
  exhaustsRetries,
  HedgeMachine,
  type PickWish,
  provablyUnprocessed,
  type RetryContext,
  RetryMachine,
  type RetryThrottle,
} from '../resilience/index.ts';
import { type CallTrace, callersTraceId } from '../telemetry/index.ts';
import type { AdaptiveLimit, Admission, Cluster, Endpoint } from '../upstream/index.ts';
import { Attempt } from './attempt.ts';
import type { BoundRoute } from './bound-table.ts';
import { deadlinePassed, requestTooLarge, responseTooLarge, ruleOf, silent, slowServer, whyGivenUp } from './call-messages.ts';
import type { CallSizes } from './call-sizes.ts';
import type { CallerWishes } from './caller-wishes.ts';
import type { DirectionProxy } from './direction-proxy.ts';
import { headerValue } from './headers.ts';
import type { ReplayBuffer } from './replay-buffer.ts';
import { type LocalReply, localReply, replyToError, sendReply } from './replies.ts';
import { Rivals } from './rivals.ts';
import type { Downstream } from './tls-acceptor.ts';
import type { FaultHeaders } from './traffic/fault-headers.ts';
import type { MirroredCall } from './traffic/mirrored-call.ts';
import { UnreadAnswer } from './unread-answer.ts';

/** The answer at hand when an attempt fails and nothing more is tried: what the upstream said, or what we say. */
export type FinalAnswer = { readonly kind: 'local'; readonly reply: LocalReply } | { readonly kind: 'forward' };

const noBytes = Buffer.alloc(0);

/** Whether attempts may run beside each other. While that `waits` there is one of them, and nothing has asked for another one yet. */
const Hedging = { no: 0, waits: 1, begun: 2 } as const;

/**
 * One call, from its request headers to its one fate. It is the handler of the downstream stream; the present `Attempt` is the one of
 * the upstream stream, and DATA goes from one to the other without touching a stage. Its `Deadline` is its own timer.
 *
 * Credit: what the caller sent is consumed when it has left for the server, counted over attempts, so that a replay gives no
 * credit twice.
 */
export class Call implements StreamHandler {
  readonly #deadline = new Deadline(this);
  readonly proxy: DirectionProxy;
  readonly downstream: Stream;
  /** Request headers as they will be sent; the engine's block, kept until the call ends. */
  readonly request: HeaderBlock;
  readonly startMs: number;
  route: BoundRoute | undefined;
  cluster: Cluster | undefined;
  /** Monotonic; infinite where there is no deadline. */
  endsAtMs = Number.POSITIVE_INFINITY;
  deadlineReason: DeadlineReason = 'caller_deadline';
  /** The caller has sent END_STREAM. */
  requestEnded: boolean;
  /** When it did, in whole milliseconds, where a breaker goes by how slow answers are; -1: with its headers, or nobody asks. */
  requestEndedMs = -1;
  /** What was sent so far; `undefined` once it is too much to be sent again. */
  replay: ReplayBuffer | undefined;
  /** What it asks of the endpoint; `undefined`: nothing. */
  wish: PickWish | undefined = undefined;
  /** Value of `set-cookie` in the answer; `undefined`: none. */
  setCookie: string | undefined = undefined;
  /** What our own service asks for in its headers; `undefined`: nothing. */
  wishes: CallerWishes | undefined = undefined;
  /** What the caller wants to be broken; `undefined`: nobody listens to that. */
  faultHeaders: FaultHeaders | undefined = undefined;
  /** The route's retry policy, as the caller wants it. */
  retry: RetryPolicy | undefined = undefined;
  /** Endpoints that attempts have failed on. */
  tried: Endpoint[] | undefined;
  /** Room in the cluster, given back when the call ends. */
  admission: Admission | undefined;
  /** Where it counts among the calls under way; `undefined`: nowhere. */
  concurrency: AdaptiveLimit | undefined = undefined;
  /** The same of its cluster. */
  clusterConcurrency: AdaptiveLimit | undefined = undefined;
  /** Its copies for other clusters; `undefined`: none. */
  mirrors: readonly MirroredCall[] | undefined = undefined;
  /** What its route allows of bytes; `undefined`: any number. */
  sizes: CallSizes | undefined = undefined;
  finished = false;
  /** Bytes of DATA that the caller has sent, and those that it was sent. */
  bytesReceived = 0;
  bytesSent = 0;
  /** Its place in a trace; `undefined`: tracing is off, it has no route yet, or it has ended and nothing of it was kept. */
  trace: CallTrace | undefined = undefined;
  /** What we said in the place of an answer. */
  replied: LocalReply | undefined = undefined;
  machine: RetryMachine | undefined;
  /** The present attempt; of several beside each other one of them. */
  attempt: Attempt | undefined = undefined;
  /** While several attempts run, or may; not made before there is reason to: nearly all calls are answered by their first attempt. */
  rivals: Rivals | undefined = undefined;
  #hedging: (typeof Hedging)[keyof typeof Hedging] = Hedging.no;
  /** Which of them do; made when the first of them fails, or another one is due. */
  hedge: HedgeMachine | undefined = undefined;

  /** It failed after retries, or somebody further down has said that it is not to be tried again. */
  retriesExhausted = false;
  #creditedBytes = 0;
  /** Some attempt of it has reached a service, or might have. */
  #mayBeProcessed = false;
  #retryTimer: Deadline | undefined;
  #idleMs = 0;
  #lastActivityMs = 0;

  constructor(proxy: DirectionProxy, downstream: Stream, request: HeaderBlock, requestEnded: boolean) {
    this.proxy = proxy;
    this.downstream = downstream;
    this.request = request;
    this.startMs = downstream.openedAtMs;
    this.requestEnded = requestEnded;
  }

  get peer(): Downstream {
    return this.downstream.connection.context as Downstream;
  }

  // ---- stages.ts drives these ----

  /** Arms the one timer of the call: for its deadline, where `idleMs` is above 0 for its silence, and where it hedges for its second attempt. */
  armDeadline(idleMs: number): void {
    this.#idleMs = idleMs;
    if (idleMs > 0) this.#lastActivityMs = this.startMs;
    const { hedge } = (this.route as BoundRoute).route;
    if (hedge !== undefined && !Rivals.beginTogether(hedge) && this.idempotent === true) this.#hedging = Hedging.waits;
    this.#armNext();
  }

  #armNext(): void {
    let dueMs = this.endsAtMs;
    if (this.#idleMs > 0) dueMs = Math.min(dueMs, this.#lastActivityMs + this.#idleMs);
    if (this.#hedging === Hedging.waits) dueMs = Math.min(dueMs, this.#hedgeDueMs);
    this.proxy.engine.wheel.arm(this.#deadline, dueMs);
  }

  /** Begins the first attempt, and where the route hedges those that begin with it. Anything may have happened when this returns. */
  begin(): void {
    const { hedge } = (this.route as BoundRoute).route;
    // The times of those that follow are counted from the first one, not from the beginning of the call.
    const late = this.proxy.engine.nowMs !== this.startMs;
    if (hedge !== undefined && (late || this.#hedging === Hedging.no) && this.idempotent === true) this.#beginHedging(hedge);
    else this.startAttempt();
  }

  /** Begins when the source of endpoints has answered for the first time, or has had as long as a connection may take. */
  awaitEndpoints(): void {
    const { engine, table } = this.proxy;
    const cluster = this.cluster as Cluster;
    this.#hedging = Hedging.no;
    const go = (): void => {
      if (this.finished || this.#retryTimer !== timer) return;
      engine.wheel.cancel(timer);
      this.#retryTimer = undefined;
      engine.tick();
      const { route, clusterName } = this.route as BoundRoute;
      // Whether the service is one that somebody knows, and is counted by its name, shows only now.
      if (cluster.onDemand) this.route = table.fallback(clusterName, route);
      this.begin();
    };
    const timer = new Deadline({ expire: go });
    this.#retryTimer = timer;
    engine.wheel.arm(timer, engine.nowMs + cluster.policy.connectTimeoutMs);
    void cluster.resolved.then(go);
  }

  /** Begins the next attempt. Anything may have happened when this returns. */
  startAttempt(): void {
    const attempt = new Attempt(this);
    if (this.rivals === undefined) this.attempt = attempt;
    else this.rivals.add(attempt);
    attempt.start();
  }

  /** Whether a call of this method may be processed twice. */
  get idempotent(): boolean | undefined {
    const { idempotent } = (this.route as BoundRoute).route;
    if (idempotent !== undefined) return idempotent;
    const { idempotentMethods } = this.proxy.table.policies;
    if (idempotentMethods.size === 0) return undefined;
    return idempotentMethods.has(this.request.value(this.request.indexOf(Token.path))) || undefined;
  }

  // ---- downstream stream ----

  onHeaders(): void {}

  onData(stream: Stream, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.finished) {
      stream.consume(end - start);
      return;
    }
    this.bytesReceived += end - start;
    if (this.idleWatched) this.touch();
    if (this.sizes !== undefined && !this.sizes.takeRequest(bytes, start, end)) {
      this.endByRequestSize();
      stream.consume(end - start);
      return;
    }
    if (this.mirrors !== undefined) for (const mirror of this.mirrors) mirror.onRequestData(bytes, start, end, endStream);
    if (endStream) {
      this.requestEnded = true;
      if (this.cluster?.policy.breaker.slowCallDurationMs !== undefined) this.requestEndedMs = Math.ceil(this.proxy.engine.nowMs);
    }
    if (this.rivals !== undefined) {
      this.rivals.feed(bytes, start, end, endStream);
      return;
    }
    const upstream = this.attempt?.stream;
    if (upstream === undefined) {
      // Nobody to send to yet: kept whatever the limit says, since the stream's window bounds it and no credit is given.
      this.keep(bytes, start, end, Number.POSITIVE_INFINITY);
      return;
    }
    if (this.replay !== undefined) this.keep(bytes, start, end, (this.route as BoundRoute).route.bufferLimitBytes);
    const attempt = this.attempt as Attempt;
    attempt.sentBytes += upstream.sendData(bytes, start, end, endStream);
    attempt.touch();
    this.credit(attempt);
  }

  /** Request trailers: gRPC has none, so they only end the request. */
  onTrailers(stream: Stream): void {
    this.onData(stream, noBytes, 0, 0, true);
  }

  onReset(stream: Stream): void {
    if (this.finished) {
      this.attempt?.stream?.release();
      return;
    }
    // A caller whose deadline has passed cancels: what it sees is its deadline, and so is the fate.
    const late = this.deadlineReason === 'caller_deadline' && this.deadlineIsDue;
    this.#abandon('neutral');
    // Reset by us, since it broke HTTP/2.
    if (stream.problem !== undefined && !stream.connectionLost) this.finish('malformed_request', GrpcStatus.INTERNAL);
    else if (late) this.finish('caller_deadline', GrpcStatus.DEADLINE_EXCEEDED);
    else {
      if (this.cluster !== undefined) this.cluster.stats.upstreamRqCancelled++;
      this.finish('cancelled', GrpcStatus.CANCELLED);
    }
  }

  /** Response DATA that had to wait has left for the caller. */
  onSent(_stream: Stream, bytes: number): void {
    this.attempt?.stream?.consume(bytes);
    if (this.idleWatched) this.touch();
  }

  /** The caller takes less than 1 KiB/s of the response while memory is short; where the call is whole, only its last bytes wait. */
  onSlowReader(stream: Stream): void {
    const upstream = this.attempt?.stream;
    if (!this.proxy.engine.buffersShort && upstream?.connection.buffersShort !== true) return;
    stream.connection.counters.txFlushTimeout++;
    this.#abandon('neutral');
    stream.reset(ErrorCode.cancel);
    upstream?.release();
    this.finish('flush_timeout', GrpcStatus.CANCELLED);
  }

  /**
   * The server of `attempt` takes less than 1 KiB/s of the request while memory is short. That attempt ends; the call does with it,
   * unless others run beside it: they may still answer, and none is begun any more.
   */
  onSlowServer(attempt: Attempt, stream: Stream, endpoint: string): void {
    if (this.finished || (!this.proxy.engine.buffersShort && !this.downstream.connection.buffersShort)) return;
    stream.connection.counters.txFlushTimeout++;
    if (this.rivals === undefined) this.#abandon('neutral');
    else attempt.abandon('neutral');
    this.refuse(slowServer(this, endpoint), attempt);
  }

  /** The request is larger than the route allows. */
  endByRequestSize(): void {
    this.proxy.trafficStats.requestsTooLarge++;
    this.#abandon('neutral');
    this.reply(requestTooLarge(this));
  }

  /** The answer is larger than the route allows: the caller is told in the place of what would follow. */
  endByResponseSize(): void {
    this.proxy.trafficStats.responsesTooLarge++;
    this.#abandon('neutral');
    this.reply(responseTooLarge(this));
  }

  // ---- deadlines ----

  expire(): void {
    if (this.finished) return;
    const { engine } = this.proxy;
    const nowMs = engine.tick();
    if (nowMs >= this.endsAtMs) {
      this.endByDeadline();
      return;
    }
    if (this.#idleMs > 0 && nowMs >= this.#lastActivityMs + this.#idleMs) {
      this.#endIdle();
      return;
    }
    if (this.#hedging === Hedging.waits && nowMs >= this.#hedgeDueMs) {
      this.rivalry?.expire();
      if (this.finished) return;
    }
    this.#armNext();
  }

  /** The deadline has passed, or is about to: timers of three processes for one instant do not fire in order. */
  get deadlineIsDue(): boolean {
    return this.proxy.engine.nowMs >= this.endsAtMs - deadlineRaceMs;
  }

  /** The caller's deadline or the route's timeout has passed. */
  endByDeadline(): void {
    const reason = this.deadlineReason;
    const cluster = this.cluster as Cluster;
    if (reason === 'max_stream_duration') this.proxy.trafficStats.maxDurationReached++;
    else cluster.stats.upstreamRqTimeout++;
    if (this.machine !== undefined && this.machine.previousAttempts > 0) this.retriesExhausted = true;
    const reply = deadlinePassed(this);
    this.#abandon(reason === 'route_timeout' ? 'timeout' : 'neutral');
    this.reply(reply);
  }

  /** Whether somebody has to be told of activity. */
  get idleWatched(): boolean {
    return this.#idleMs > 0;
  }

  touch(): void {
    this.#lastActivityMs = this.proxy.engine.nowMs;
  }

  #endIdle(): void {
    this.proxy.trafficStats.idleTimeouts++;
    this.#abandon('neutral');
    this.reply(silent(this, this.#idleMs));
  }

  // ---- outcomes of attempts ----

  /** Attempts begun. */
  attempts = 0;

  /** Gives the caller credit for what has left for the server. */
  credit(attempt: Attempt): void {
    const bytes = attempt.sentBytes - this.#creditedBytes;
    if (bytes <= 0) return;
    this.#creditedBytes += bytes;
    this.downstream.consume(bytes);
  }

  /**
   * An attempt has failed: tries again, or ends the call with `answer`. Returns true where the answer at hand is to be forwarded by the
   * attempt itself.
   */
  onAttemptFailed(attempt: Attempt, outcome: AttemptOutcome, answer: FinalAnswer, pushback: string | undefined): boolean {
    if (this.finished) return false;
    const cluster = this.cluster as Cluster;
    const { nowMs } = this.proxy.engine;
    if (attempt.endpoint !== undefined) this.noteTried(attempt.endpoint);
    if (!provablyUnprocessed(outcome)) this.#mayBeProcessed = true;
    const settled = this.rivalry?.onFailure(attempt, outcome, answer, pushback);
    if (settled !== undefined) return settled;
    this.machine ??= this.#createMachine();
    const decision = this.machine.decide(outcome, {
      nowMs,
      startMs: this.startMs,
      dueMs: this.endsAtMs,
      committed: this.replay === undefined || this.downstream.headersSent,
      untriedEndpoints: cluster.untriedEndpoints(this.tried, this.wish),
      breakerOpen: attempt.breakerRefuses(nowMs),
      pushback,
      rateLimitedMs: attempt.rateLimitedMs,
    });
    if (decision.kind === 'retry') {
      if (decision.via === 'policy') cluster.stats.upstreamRqRetry++;
      if (this.trace !== undefined)
        this.trace.event('outrider.retry', nowMs, { after_attempt: attempt.number, delay_ms: decision.delayMs, via: decision.via });
      this.attempt = undefined;
      this.retryAfter(decision.delayMs, nowMs);
      return false;
    }
    if (exhaustsRetries(decision.why, this.machine.previousAttempts)) this.retriesExhausted = true;
    if (this.trace !== undefined && decision.why !== 'not_retriable') this.trace.event('outrider.no_retry', nowMs, { why: decision.why });
    if (decision.why === 'retries_exhausted') cluster.stats.upstreamRqRetryLimitExceeded++;
    if (answer.kind === 'forward') return true;
    const { reply } = answer;
    const unprocessed = !this.#mayBeProcessed && !this.hedging && !this.downstream.headersSent && this.proxy.direction === 'inbound';
    this.reply({ ...reply, message: reply.message + whyGivenUp(this, decision.why), unprocessed });
    return false;
  }

  /** No attempt could be made. */
  refuse(error: MeshError | LocalReply, attempt?: Attempt): void {
    if (this.finished) return;
    if (this.trace !== undefined) this.trace.event('outrider.refused', this.proxy.engine.nowMs, { reason: error.reason });
    if (this.rivals !== undefined && attempt !== undefined) {
      this.rivals.refuse(attempt);
      if (this.attempt !== undefined) return;
    }
    if (error.reason === 'circuit_open') this.retriesExhausted = true;
    this.reply('status' in error ? error : replyToError(error));
  }

  /** Ends the call with an answer of ours. */
  reply(reply: LocalReply): void {
    if (this.finished) return;
    const traffic = this.route?.traffic;
    const said = reply.pushbackMs === undefined && this.forbidsRetry ? { ...reply, pushbackMs: -1 } : reply;
    sendReply(this.downstream, said, traffic === undefined ? undefined : (block) => traffic.editResponse(this, block));
    this.replied = reply;
    this.finish(reply.reason, reply.status);
    this.attempt?.stream?.release();
    UnreadAnswer.watch(this.downstream);
  }

  /** Ends the call because the process does. */
  endByDrain(): void {
    this.#endDraining('the sidecar is shutting down and DRAIN_TIMEOUT has passed; call again, or raise DRAIN_TIMEOUT');
  }

  /** Ends the call because its connection is too old, and had its grace. */
  endByAge(): void {
    this.#endDraining('the connection reached max_connection_age, and max_connection_age_grace has passed; call again, or raise the grace');
  }

  #endDraining(message: string): void {
    if (this.finished) return;
    this.proxy.engine.tick();
    this.#abandon('neutral');
    this.reply(localReply('draining', message));
  }

  /** The only place where a call ends. */
  finish(fate: Fate, status: number): void {
    if (this.finished) return;
    this.finished = true;
    const { proxy } = this;
    const { wheel } = proxy.engine;
    wheel.cancel(this.#deadline);
    if (this.#retryTimer !== undefined) wheel.cancel(this.#retryTimer);
    if (this.rivals !== undefined) this.#abandon('neutral');
    this.hedge?.finish();
    if (this.machine !== undefined) {
      this.machine.finish();
      if (fate === 'ok' && this.machine.previousAttempts > 0 && !this.hedging) (this.cluster as Cluster).stats.upstreamRqRetrySuccess++;
    }
    if (fate !== 'ok') this.#tellGuard();
    else if (this.route?.route.throttle !== undefined) this.#throttle?.succeeded();
    this.admission?.release();
    if (this.mirrors !== undefined) for (const mirror of this.mirrors) mirror.onCallEnded();
    this.concurrency?.leave(fate, this.startMs, proxy.engine.nowMs);
    this.clusterConcurrency?.leave(fate, this.startMs, proxy.engine.nowMs);
    if (this.sizes !== undefined) {
      this.sizes.release();
      this.sizes = undefined;
    }
    this.dropReplay();
    if (proxy.endedCalls !== undefined) proxy.endedCalls.show(this, fate, status);
    proxy.engine.returnBlock(this.request);
    const durationMs = proxy.engine.nowMs - this.startMs;
    (this.route?.metrics ?? proxy.unroutedMetrics).record(status, durationMs);
    proxy.countFate(fate);
    // What has not left for the server will not leave any more, while our answer may wait for a caller that reads slowly.
    if (this.downstream.heldBytes > 0) this.downstream.release();
  }

  /** An inbound call: whether what fails of it has been tried often enough further down, so that nobody is to try again further up. */
  get forbidsRetry(): boolean {
    const { direction, engine, guard } = this.proxy;
    if (direction !== 'inbound' || guard.size === 0) return false;
    const trace = callersTraceId(this.request);
    return trace !== undefined && guard.forbidsRetry(trace, this.startMs, engine.nowMs);
  }

  /** An outbound call has failed: whichever inbound call caused it hears that retries are used up. */
  #tellGuard(): void {
    const { direction, engine, guard } = this.proxy;
    if (direction !== 'outbound' || !this.retriesExhausted) return;
    // A trace that began here is no inbound call's.
    if (this.trace?.beginsHere === true) return;
    const trace = callersTraceId(this.request);
    if (trace !== undefined) guard.outboundFailed(trace, engine.nowMs);
  }

  /** The request is too much to be sent again: from here on this attempt is the last. */
  dropReplay(): void {
    if (this.replay === undefined) return;
    this.proxy.replayBuffers.release(this.replay);
    this.replay = undefined;
  }

  /** Full gRPC path, for breakers by method. Allocates. */
  get methodPath(): string {
    const cluster = this.cluster as Cluster;
    return cluster.policy.breaker.scope === 'method' ? this.request.value(this.request.indexOf(Token.path)) : '';
  }

  /** The rule of the policy files that the call follows, for messages. */
  get rule(): string {
    return ruleOf(this.route as BoundRoute);
  }

  /** Keeps what the caller sends for an attempt to come, up to `limitBytes`. */
  keep(bytes: Buffer, start: number, end: number, limitBytes: number): void {
    if (start === end) return;
    const { replayBuffers } = this.proxy;
    // The first message says how long it is: what will not fit is not copied to be thrown away.
    if (this.replay?.length === 0 && messageBytes(bytes, start, end) > limitBytes) {
      this.dropReplay();
      return;
    }
    if (this.replay !== undefined && replayBuffers.append(this.replay, bytes, start, end, limitBytes)) return;
    if (this.rivals?.anyStream ?? this.attempt?.stream !== undefined) this.dropReplay();
    else {
      this.#abandon('neutral');
      this.reply(localReply('overloaded', 'too many request bytes wait for an upstream connection; the cluster is too slow to connect'));
    }
  }

  /** Begins the next attempt in `delayMs`. */
  retryAfter(delayMs: number, nowMs: number): void {
    if (delayMs <= 0) {
      this.startAttempt();
      return;
    }
    this.#retryTimer ??= new Deadline({
      expire: () => {
        this.proxy.engine.tick();
        this.startAttempt();
      },
    });
    this.proxy.engine.wheel.arm(this.#retryTimer, nowMs + delayMs);
  }

  get #retryContext(): RetryContext {
    const { budget, limits, random } = this.admission as Admission;
    return { budget, limits, random, throttle: this.#throttle };
  }

  /** Tokens of the cluster, where the route counts them. */
  get #throttle(): RetryThrottle | undefined {
    const { throttle } = (this.route as BoundRoute).route;
    return throttle === undefined ? undefined : this.proxy.retryThrottles.of((this.cluster as Cluster).name, throttle);
  }

  #createMachine(): RetryMachine {
    let policy = this.retry;
    const wanted = policy?.retriableRequestHeaders ?? [];
    if (policy !== undefined && wanted.length > 0 && !wanted.some(({ name, matches }) => matches(headerValue(this.request, name))))
      policy = { ...policy, conditions: 0 };
    return new RetryMachine(policy, this.idempotent, this.#retryContext);
  }

  /** Ends the attempt that goes on, if any: the server learns that nobody waits any more. */
  #abandon(result: 'neutral' | 'timeout'): void {
    if (this.#hedging === Hedging.waits) this.#hedging = Hedging.begun;
    const { rivals } = this;
    this.rivals = undefined;
    if (rivals === undefined) this.attempt?.abandon(result);
    else rivals.end(undefined, result);
  }

  // ---- attempts beside each other ----

  /** Whether attempts may run beside each other, or might have. */
  get hedging(): boolean {
    return this.#hedging !== Hedging.no;
  }

  /** Whether it is open yet which attempt answers. */
  get hedgeIsOpen(): boolean {
    return this.rivals !== undefined || this.#hedging === Hedging.waits;
  }

  /** `rivals`, made where there is reason to for the first time; `undefined`: the one attempt has no others beside it. */
  get rivalry(): Rivals | undefined {
    if (this.#hedging !== Hedging.waits) return this.rivals;
    this.#hedging = Hedging.begun;
    // What cannot be sent again has left the choice to the attempt that has it.
    if (this.replay === undefined) return undefined;
    this.rivals = new Rivals(this, (this.route as BoundRoute).route.hedge as HedgePolicyOptions);
    this.rivals.joinAt(this.#hedgeDueMs);
    return this.rivals;
  }

  /** When the second attempt begins, while it waits. */
  get #hedgeDueMs(): number {
    const { hedgingDelayMs, maxAttempts } = (this.route as BoundRoute).route.hedge as HedgePolicyOptions;
    return maxAttempts > 1 ? this.startMs + hedgingDelayMs : Number.POSITIVE_INFINITY;
  }

  #beginHedging(policy: HedgePolicyOptions): void {
    this.#hedging = Hedging.begun;
    this.rivals = new Rivals(this, policy);
    this.rivals.begin();
  }

  /** Of a call that hedges. */
  get hedgeMachine(): HedgeMachine {
    if (this.hedge !== undefined) return this.hedge;
    const policy = (this.route as BoundRoute).route.hedge as HedgePolicyOptions;
    this.machine ??= this.#createMachine();
    this.hedge = new HedgeMachine(policy, this.retry, this.machine, this.#retryContext);
    return this.hedge;
  }

  noteTried(endpoint: Endpoint): void {
    if (this.tried === undefined) this.tried = [endpoint];
    else if (!this.tried.includes(endpoint)) this.tried.push(endpoint);
  }

  /** The answer of `attempt` is the call's: the server of every other one learns that nobody waits. */
  commitTo(attempt: Attempt): void {
    if (this.#hedging === Hedging.waits) this.#hedging = Hedging.begun;
    if (this.rivals === undefined) return;
    if (this.#retryTimer !== undefined) this.proxy.engine.wheel.cancel(this.#retryTimer);
    const { rivals } = this;
    this.rivals = undefined;
    rivals.end(attempt, 'neutral');
  }

  /** None is left: what becomes of the call is decided as if there had been one. */
  endRivalry(): void {
    const { rivals } = this;
    this.rivals = undefined;
    rivals?.end(undefined, 'neutral');
  }

  /** What was sent is too much to be sent again, and `attempt` has all of it. */
  outgrow(attempt: Attempt): void {
    this.commitTo(attempt);
    this.dropReplay();
  }
}

/** The caller's own timer and ours start at different moments: a cancellation so close to the deadline is the deadline. */
const deadlineRaceMs = 5;

/** Length of the gRPC message that begins at `start`, its five-byte prefix included; 0 where the prefix is not whole. */
const messageBytes = (bytes: Buffer, start: number, end: number): number => (end - start < 5 ? 0 : 5 + readUint32(bytes, start + 1));
