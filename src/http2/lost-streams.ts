import type { Engine } from './engine.ts';
import type { Stream } from './stream.ts';

/** So many owners hear at once that their connection is lost. */
const toldAtOnce = 64;
/** For so long others hear of it in each turn of the event loop. */
const tellForMs = 2;
const toldBetweenLooks = 16;

interface Loss {
  readonly streams: readonly Stream[];
  readonly code: number;
  told: number;
}

/**
 * Tells the owners of streams that their connection is lost. Each of them has a call to end, on another connection too: a client that leaves in the
 * middle of thousands of calls would hold up everybody else's. So the first few hear at once, the others in the turns of the event loop that follow.
 * The streams are closed from the beginning: whoever has not heard yet speaks to nobody.
 */
export class LostStreams {
  readonly #engine: Engine;
  readonly #losses: Loss[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  tell(streams: readonly Stream[], code: number): void {
    for (const stream of streams) stream.lossUntold = true;
    const loss = { streams, code, told: 0 };
    tellSome(loss, toldAtOnce);
    if (loss.told === streams.length) return;
    this.#losses.push(loss);
    this.#engine.tick();
    this.#engine.beginTurn();
  }

  /** The turn of the event loop ends. Says whether some have still to hear of it. */
  serve(): boolean {
    if (this.#losses.length === 0) return false;
    const engine = this.#engine;
    engine.flush();
    const startedMs = engine.tick();
    do {
      const loss = this.#losses[0] as Loss;
      tellSome(loss, toldBetweenLooks);
      if (loss.told === loss.streams.length) this.#losses.shift();
    } while (this.#losses.length > 0 && engine.tick() - startedMs < tellForMs);
    return this.#losses.length > 0;
  }
}

const tellSome = (loss: Loss, most: number): void => {
  const last = Math.min(loss.told + most, loss.streams.length);
  while (loss.told < last) {
    const stream = loss.streams[loss.told++] as Stream;
    // Its owner may have ended it on hearing of another one.
    if (!stream.lossUntold) continue;
    stream.lossUntold = false;
    stream.handler.onReset(stream, loss.code, false);
  }
};
