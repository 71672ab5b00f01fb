import type { Engine } from './engine.ts';

/** Whoever has input that waits. */
export interface WaitingInput {
  /** It has used up its share of the round with this number. */
  readonly round: number;
  /** Reads as much as one round allows; what is left waits for the next one. */
  serve(): void;
}

/** A turn of the event loop that is older than this reads only what is small; the rest of the connections stand in line. */
const lateAfterMs = 3;
/** What stands in line is read for so long, then sockets, timers and the admin port have their turn. */
const serveForMs = 2;
const mostRounds = 2 ** 30;

/**
 * Who may read when there is more input than time. In each round every connection may make the same amount of work, whatever it has sent
 * and however many others there are; who wants more stands in line for the next round. A connection that sends little has not used up its
 * share when its next call comes, and is read at once: it does not feel that others want more than there is (deficit round robin). As long
 * as nobody has to wait, each turn of the event loop is a round.
 */
export class InputTurns {
  round = 0;
  /** Connections that had to wait, each time counted. */
  deferred = 0;
  readonly #engine: Engine;
  #line: WaitingInput[] = [];
  #next = 0;
  /** Those that have used up their share of this round. */
  #nextRound: WaitingInput[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Connections that wait. */
  get waiting(): number {
    return this.#line.length - this.#next + this.#nextRound.length;
  }

  /** This turn has taken long enough. */
  get isLate(): boolean {
    return this.#engine.nowMs - this.#engine.turnStartedMs > lateAfterMs;
  }

  /** Each input stands in line once. */
  add(input: WaitingInput): void {
    this.deferred++;
    if (input.round === this.round) this.#nextRound.push(input);
    else this.#line.push(input);
  }

  /** The turn of the event loop ends: reads what waits, for a while. Says whether something waits still. */
  serve(): boolean {
    if (this.waiting > 0) this.#serveLine();
    if (this.waiting > 0) return true;
    this.#begin();
    return false;
  }

  #serveLine(): void {
    const engine = this.#engine;
    const startedMs = engine.tick();
    while (engine.nowMs - startedMs < serveForMs) {
      if (this.#next === this.#line.length) {
        if (this.#nextRound.length === 0) return;
        this.#begin();
      }
      (this.#line[this.#next++] as WaitingInput).serve();
      engine.tick();
    }
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
