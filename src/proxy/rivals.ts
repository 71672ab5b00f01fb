import { Deadline } from '../core/index.ts';
import { GrpcStatus } from '../grpc/index.ts';
import type { AttemptOutcome, HedgeCircumstances, HedgeMachine } from '../resilience/index.ts';
import type { Cluster } from '../upstream/index.ts';
import type { Attempt } from './attempt.ts';
import type { BoundRoute } from './bound-table.ts';
import type { Call, FinalAnswer } from './call.ts';

/**
 * The attempts of a call that run beside each other, for as long as it is open which of them answers; `call.attempt` is one of them. As
 * a `Deadline` it is the time of the next one. It never was where a route does not hedge.
 */
export class Rivals extends Deadline {
  readonly #call: Call;
  readonly #hedge: HedgeMachine;
  /** Beside `call.attempt`. */
  readonly #others: Attempt[] = [];

  constructor(call: Call, hedge: HedgeMachine) {
    super();
    this.#call = call;
    this.#hedge = hedge;
  }

  /** Begins the first attempt, and those that begin with it. */
  begin(): void {
    this.#call.startAttempt();
    for (let more = this.#hedge.atOnce(); more > 0 && this.#beginAnother(); more--);
    this.#armAfter(this.#hedge.policy.hedgingDelayMs);
  }

  /** It is time for the next one. */
  override expire(): void {
    this.#call.proxy.engine.tick();
    this.#beginAnother();
    this.#armAfter(this.#hedge.policy.hedgingDelayMs);
  }

  add(attempt: Attempt): void {
    if (this.#call.attempt === undefined) this.#call.attempt = attempt;
    else this.#others.push(attempt);
  }

  /** An attempt is late. True where it goes on all the same, and another one has begun beside it if it might. */
  hedgeLateAttempt(): boolean {
    if (!this.#hedge.policy.onPerTryTimeout) return false;
    this.#beginAnother();
    return true;
  }

  /** It is none of those any more that may answer. */
  drop(attempt: Attempt): void {
    if (this.#call.attempt === attempt) this.#call.attempt = this.#others.pop();
    else {
      const at = this.#others.indexOf(attempt);
      if (at >= 0) this.#others.splice(at, 1);
    }
    this.#hedge.attemptEnded();
  }

  /** No attempt could be made: none is made any more, and those that go on do. */
  refuse(attempt: Attempt): void {
    this.drop(attempt);
    this.#hedge.stop();
  }

  /** It is decided: all but `winner` are given up, and nothing begins any more. */
  end(winner: Attempt | undefined, result: 'neutral' | 'timeout'): void {
    const losers = this.#others.splice(0);
    const { attempt, proxy } = this.#call;
    if (attempt !== undefined) losers.push(attempt);
    this.#call.attempt = winner ?? attempt;
    this.#hedge.finish();
    proxy.engine.wheel.cancel(this);
    for (const loser of losers) if (loser !== winner) loser.abandon(result);
  }

  /** Request DATA for all that have a stream; those that wait for one will send what is kept. */
  feed(bytes: Uint8Array, start: number, end: number, endStream: boolean): void {
    const call = this.#call;
    let ahead = call.attempt?.stream === undefined ? undefined : call.attempt;
    for (const other of this.#others)
      if (other.stream !== undefined && (ahead === undefined || other.sentBytes > ahead.sentBytes)) ahead = other;
    if (ahead === undefined) {
      call.keep(bytes, start, end, Number.POSITIVE_INFINITY);
      return;
    }
    if (call.replay !== undefined) call.keep(bytes, start, end, (call.route as BoundRoute).route.bufferLimitBytes);
    // Others may wait behind a slow server's window, and what waits there must stay small: one goes on.
    if (call.replay === undefined) call.commitTo(ahead);
    if (call.attempt !== undefined) this.#feedOne(call.attempt, bytes, start, end, endStream);
    for (const other of this.#others) this.#feedOne(other, bytes, start, end, endStream);
  }

  /** Whether any of them has a stream, and with it all that was sent so far. */
  get anyStream(): boolean {
    return this.#call.attempt?.stream !== undefined || this.#others.some(({ stream }) => stream !== undefined);
  }

  /**
   * One of them has failed. Returns true where its answer is the call's and is to be forwarded, false where all is done, `undefined`
   * where it was the last: what follows is decided as without the others.
   */
  onFailure(attempt: Attempt, outcome: AttemptOutcome, answer: FinalAnswer, pushback: string | undefined): boolean | undefined {
    const call = this.#call;
    this.drop(attempt);
    const status = answer.kind === 'local' ? answer.reply.status : outcome.kind === 'grpc' ? outcome.status : GrpcStatus.UNKNOWN;
    const decision = this.#hedge.onFailure(outcome, status, call.idempotent, pushback);
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
        this.#armAfter(decision.delayMs + this.#hedge.policy.hedgingDelayMs);
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
    if (this.#call.rivals !== this || delayMs === Number.POSITIVE_INFINITY || !this.#hedge.mayGoOn) return;
    engine.wheel.arm(this, engine.nowMs + delayMs);
  }

  #beginAnother(): boolean {
    if (!this.#mayBeginAnother()) return false;
    this.#call.startAttempt();
    return true;
  }

  /** True counts as begun: an attempt has to follow. */
  #mayBeginAnother(): boolean {
    const call = this.#call;
    if (call.finished || call.rivals !== this || !this.#hedge.tryBegin(this.#circumstances)) return false;
    (call.cluster as Cluster).stats.upstreamRqHedge++;
    return true;
  }

  #feedOne(attempt: Attempt, bytes: Uint8Array, start: number, end: number, endStream: boolean): void {
    if (attempt.stream === undefined) return;
    attempt.sentBytes += attempt.stream.sendData(bytes, start, end, endStream);
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
