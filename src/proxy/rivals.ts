import { Deadline } from '../core/index.ts';
import { GrpcStatus } from '../grpc/index.ts';
import type { AttemptOutcome, HedgeCircumstances, HedgePolicyOptions } from '../resilience/index.ts';
import type { Cluster } from '../upstream/index.ts';
import type { Attempt } from './attempt.ts';
import type { BoundRoute } from './bound-table.ts';
import type { Call, FinalAnswer } from './call.ts';

/**
 * The attempts of a call that run beside each other, for as long as it is open which of them answers; `call.attempt` is one of them. Their
 * `Deadline` is the time of the next one. Where one attempt begins alone, they are made when there is reason for another.
 */
export class Rivals {
  readonly #deadline = new Deadline(this);
  readonly #call: Call;
  readonly #policy: HedgePolicyOptions;
  /** Beside `call.attempt`; made for the first of them, since most calls are answered before. */
  #others: Attempt[] | undefined = undefined;

  constructor(call: Call, policy: HedgePolicyOptions) {
    this.#call = call;
    this.#policy = policy;
  }

  /** Whether others begin with the first attempt, or may. */
  static beginTogether({ additionalRequestChance, hedgingDelayMs, initialRequests }: HedgePolicyOptions): boolean {
    return hedgingDelayMs === 0 || initialRequests > 1 || additionalRequestChance > 0;
  }

  /** Begins the first attempt, and those that begin with it. */
  begin(): void {
    this.#call.startAttempt();
    if (Rivals.beginTogether(this.#policy)) for (let more = this.#call.hedgeMachine.atOnce(); more > 0 && this.#beginAnother(); more--);
    this.#armAfter(this.#policy.hedgingDelayMs);
  }

  /** The first attempt goes on already, and the next one begins at `dueMs`; whoever says that it has come calls `expire`. */
  joinAt(dueMs: number): void {
    const { nowMs, wheel } = this.#call.proxy.engine;
    if (dueMs > nowMs) wheel.arm(this.#deadline, dueMs);
  }

  /** It is time for the next one. */
  expire(): void {
    this.#call.proxy.engine.tick();
    this.#beginAnother();
    this.#armAfter(this.#policy.hedgingDelayMs);
  }

  add(attempt: Attempt): void {
    if (this.#call.attempt === undefined) this.#call.attempt = attempt;
    else if (this.#others === undefined) this.#others = [attempt];
    else this.#others.push(attempt);
  }

  /** An attempt is late. True where it goes on all the same, and another one has begun beside it if it might. */
  hedgeLateAttempt(): boolean {
    if (!this.#policy.onPerTryTimeout) return false;
    this.#beginAnother();
    return true;
  }

  /** It is none of those any more that may answer. */
  drop(attempt: Attempt): void {
    if (this.#call.attempt === attempt) this.#call.attempt = this.#others?.pop();
    else {
      const at = this.#others?.indexOf(attempt) ?? -1;
      if (at >= 0) this.#others?.splice(at, 1);
    }
    this.#call.hedgeMachine.attemptEnded();
  }

  /** No attempt could be made: none is made any more, and those that go on do. */
  refuse(attempt: Attempt): void {
    this.drop(attempt);
    this.#call.hedgeMachine.stop();
  }

  /** It is decided: all but `winner` are given up, and nothing begins any more. */
  end(winner: Attempt | undefined, result: 'neutral' | 'timeout'): void {
    const others = this.#others;
    this.#others = undefined;
    const { attempt, hedge, proxy } = this.#call;
    this.#call.attempt = winner ?? attempt;
    hedge?.finish();
    proxy.engine.wheel.cancel(this.#deadline);
    if (others !== undefined) for (const loser of others) if (loser !== winner) loser.abandon(result);
    if (attempt !== undefined && attempt !== winner) attempt.abandon(result);
  }

  /** Request DATA for all that have a stream; those that wait for one will send what is kept. */
  feed(bytes: Buffer, start: number, end: number, endStream: boolean): void {
    const call = this.#call;
    let ahead = call.attempt?.stream === undefined ? undefined : call.attempt;
    const others = this.#others;
    if (others !== undefined)
      for (const other of others)
        if (other.stream !== undefined && (ahead === undefined || other.sentBytes > ahead.sentBytes)) ahead = other;
    if (ahead === undefined) {
      call.keep(bytes, start, end, Number.POSITIVE_INFINITY);
      return;
    }
    if (call.replay !== undefined) call.keep(bytes, start, end, (call.route as BoundRoute).route.bufferLimitBytes);
    // Others may wait behind a slow server's window, and what waits there must stay small: one goes on.
    if (call.replay === undefined) call.commitTo(ahead);
    if (call.attempt !== undefined) this.#feedOne(call.attempt, bytes, start, end, endStream);
    if (others !== undefined) for (const other of others) this.#feedOne(other, bytes, start, end, endStream);
  }

  /** Whether any of them has a stream, and with it all that was sent so far. */
  get anyStream(): boolean {
    return this.#call.attempt?.stream !== undefined || this.#others?.some(({ stream }) => stream !== undefined) === true;
  }

  /**
   * One of them has failed. Returns true where its answer is the call's and is to be forwarded, false where all is done, `undefined`
   * where it was the last: what follows is decided as without the others.
   */
  onFailure(attempt: Attempt, outcome: AttemptOutcome, answer: FinalAnswer, pushback: string | undefined): boolean | undefined {
    const call = this.#call;
    this.drop(attempt);
    const status = answer.kind === 'local' ? answer.reply.status : outcome.kind === 'grpc' ? outcome.status : GrpcStatus.UNKNOWN;
    const decision = call.hedgeMachine.onFailure(outcome, status, call.idempotent, pushback);
    const alone = call.attempt === undefined;
    if (decision.kind === 'fatal') {
      call.commitTo(attempt);
      if (alone) return undefined;
      if (answer.kind === 'forward') return true;
      call.reply(answer.reply);
      return false;
    }
    if (decision.kind === 'hedge') {
      const { nowMs } = call.proxy.engine;
      if (!alone && decision.delayMs > 0) this.#armAfter(decision.delayMs);
      else if (nowMs + decision.delayMs < call.endsAtMs && this.#mayBeginAnother()) {
        this.#armAfter(decision.delayMs + this.#policy.hedgingDelayMs);
        call.retryAfter(decision.delayMs, nowMs);
        return false;
      }
    }
    if (call.attempt !== undefined) return false;
    call.endRivalry();
    return undefined;
  }

  #armAfter(delayMs: number): void {
    const { engine } = this.#call.proxy;
    if (this.#call.rivals !== this || delayMs === Number.POSITIVE_INFINITY) return;
    if (this.#call.hedge === undefined ? this.#policy.maxAttempts <= 1 : !this.#call.hedge.mayGoOn) return;
    engine.wheel.arm(this.#deadline, engine.nowMs + delayMs);
  }

  #beginAnother(): boolean {
    if (!this.#mayBeginAnother()) return false;
    this.#call.startAttempt();
    return true;
  }

  /** True counts as begun: an attempt has to follow. */
  #mayBeginAnother(): boolean {
    const call = this.#call;
    if (call.finished || call.rivals !== this || !call.hedgeMachine.tryBegin(this.#circumstances)) return false;
    // The first one has not told: nearly always it stays the only one.
    if (call.attempt?.endpoint !== undefined) call.noteTried(call.attempt.endpoint);
    (call.cluster as Cluster).stats.upstreamRqHedge++;
    if (call.trace !== undefined) call.trace.event('outrider.hedge', call.proxy.engine.nowMs, { beside_attempt: call.attempts });
    return true;
  }

  #feedOne(attempt: Attempt, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    if (attempt.stream === undefined) return;
    attempt.sentBytes += attempt.stream.sendData(bytes, start, end, endStream);
    attempt.touch();
    this.#call.credit(attempt);
  }

  get #circumstances(): HedgeCircumstances {
    const call = this.#call;
    const { nowMs } = call.proxy.engine;
    return {
      nowMs,
      startMs: call.startMs,
      dueMs: call.endsAtMs,
      committed: call.replay === undefined || call.downstream.headersSent,
      breakerOpen: (call.cluster as Cluster).breakerRefuses(call.methodPath, nowMs),
    };
  }
}
