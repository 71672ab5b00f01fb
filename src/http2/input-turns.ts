import type { Engine } from './engine.ts';

/** Whoever has input that waits. */
export interface WaitingInput {
  /** Brings answers: they end work that was begun, and one connection has those of many clients. */
  readonly answers: boolean;
  /** It has used up its share of the round with this number. */
  readonly round: number;
  /** Reads as much as one round allows; what is left waits for the next one. */
  serve(): void;
  /** The turn of the event loop has ended in which it called `hearOfTurnEnd`. */
  onTurnEnd(): void;
}

/** A turn of the event loop that is older than this reads only what is small; the rest of the connections stand in line. */
const lateAfterMs = 3;
/** Answers that wait are read for so long, in each turn and before anything else that waits. */
const serveAnswersForMs = 4;
/** What stands in line is read for so long, then sockets, timers and the admin port have their turn. */
const serveForMs = 1;
const measureEveryMs = 50;
const saturation = 0.95;
const mostRounds = 2 ** 30;

/**
 * Who may read when there is more input than time. In each round every connection may make the same amount of work, whatever it has sent
 * and however many others there are; who wants more stands in line for the next round. A connection that sends little has not used up its
 * share when its next call comes, and is read at once: it does not feel that others want more than there is (deficit round robin). As long
 * as nobody has to wait, each turn of the event loop is a round.
 */
export class InputTurns {
  round = 0;
  /** Of the event loop. */
  turn = 0;
  /** Connections that had to wait, each time counted. */
  deferred = 0;
  readonly #engine: Engine;
  readonly #turnEnding: WaitingInput[] = [];
  #measuredAtMs = 0;
  #utilization = performance.eventLoopUtilization();
  #saturated = false;
  #line: WaitingInput[] = [];
  #next = 0;
  /** Those that have used up their share of this round. */
  #nextRound: WaitingInput[] = [];
  /** Upstream connections: for them each turn is a round. */
  #answers: WaitingInput[] = [];
  #laterAnswers: WaitingInput[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Connections that wait. */
  get waiting(): number {
    return this.#line.length - this.#next + this.#nextRound.length + this.#answers.length;
  }

  /** This turn has taken long enough, or there are answers that go before new requests. */
  get isLate(): boolean {
    return this.#answers.length > 0 || this.#engine.nowMs - this.#engine.turnStartedMs > lateAfterMs;
  }

  /** The event loop had hardly a moment to wait for anything lately. Measured when somebody asks, over the time since somebody did last. */
  isSaturated(nowMs: number): boolean {
    const elapsedMs = nowMs - this.#measuredAtMs;
    if (elapsedMs < measureEveryMs) return this.#saturated;
    const utilization = performance.eventLoopUtilization();
    // Over a longer time it says nothing about now.
    this.#saturated =
      elapsedMs < 4 * measureEveryMs && performance.eventLoopUtilization(utilization, this.#utilization).utilization > saturation;
    this.#utilization = utilization;
    this.#measuredAtMs = nowMs;
    return this.#saturated;
  }

  /** Each input stands in line once. */
  add(input: WaitingInput): void {
    this.deferred++;
    if (input.answers) this.#answers.push(input);
    else if (input.round === this.round) this.#nextRound.push(input);
    else this.#line.push(input);
  }

  /** `input.onTurnEnd` is called once, when this turn ends. */
  hearOfTurnEnd(input: WaitingInput): void {
    this.#turnEnding.push(input);
  }

  /** The turn of the event loop ends: reads what waits, for a while. Says whether something waits still. */
  serve(): boolean {
    this.turn = (this.turn + 1) % mostRounds;
    for (const input of this.#turnEnding) input.onTurnEnd();
    this.#turnEnding.length = 0;
    if (this.#answers.length > 0) this.#serveAnswers();
    if (this.waiting > this.#answers.length) this.#serveLine();
    if (this.waiting > 0) return true;
    this.#begin();
    return false;
  }

  #serveAnswers(): void {
    const engine = this.#engine;
    engine.flush();
    const startedMs = engine.tick();
    const waiting = this.#answers;
    // Those that want more are heard again in the next turn.
    this.#answers = this.#laterAnswers;
    for (const input of waiting) {
      if (engine.nowMs - startedMs < serveAnswersForMs) {
        input.serve();
        engine.tick();
      } else this.#answers.push(input);
    }
    waiting.length = 0;
    this.#laterAnswers = waiting;
  }

  #serveLine(): void {
    const engine = this.#engine;
    engine.flush();
    const startedMs = engine.tick();
    do {
      if (this.#next === this.#line.length) {
        if (this.#nextRound.length === 0) return;
        this.#begin();
      }
      (this.#line[this.#next++] as WaitingInput).serve();
    } while (engine.tick() - startedMs < serveForMs && this.#answers.length === 0);
  }

  #begin(): void {
    this.round = (this.round + 1) % mostRounds;
    const served = this.#line;
    served.length = 0;
    this.#line = this.#nextRound;
    this.#nextRound = served;
    this.#next = 0;
  }
}
