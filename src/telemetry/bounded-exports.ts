import type { Clock } from '../core/index.ts';
import { exportProblem } from './export-problem.ts';

/** What OpenTelemetry's SDK calls SUCCESS. */
const success = 0;

/** How an exporter of OpenTelemetry tells what became of a request. */
export type ExportDone = (result: { readonly code: number; readonly error?: Error }) => void;

/**
 * Requests of an exporter that has no time limit of its own, or one that it does not keep. Each ends once: by the exporter's word, by time, or
 * because there is no more of it.
 */
export class BoundedExports {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #underWay = new Set<() => void>();
  #givenUp = false;
  #settled: PromiseWithResolvers<void> | undefined;

  /** @param timeoutMs how long a request may take. */
  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  get givenUp(): boolean {
    return this.#givenUp;
  }

  /**
   * @param start hands the request to the exporter; what it throws ends the request.
   * @param onEnd is told once why it failed; `undefined`: it did not.
   * @param later `start` has a turn of the event loop of its own.
   */
  run(start: (done: ExportDone) => void, onEnd: (problem: string | undefined) => void, later = false): void {
    let ended = false;
    const end = (problem: string | undefined): void => {
      if (ended) return;
      ended = true;
      timer.cancel();
      this.#underWay.delete(giveUp);
      onEnd(problem);
      if (this.#underWay.size === 0) this.#settled?.resolve();
    };
    const giveUp = (): void => end('the sidecar ends, and has not waited for the answer');
    const timer = this.#clock.setTimer(() => end(`no answer within ${this.#timeoutMs} ms`), this.#timeoutMs);
    this.#underWay.add(giveUp);
    if (this.#givenUp) {
      giveUp();
      return;
    }
    const begin = (): void => {
      if (ended) return;
      try {
        start(({ code, error }) => end(code === success ? undefined : exportProblem(error)));
      } catch (error) {
        end(exportProblem(error as Error));
      }
    };
    if (later) setImmediate(begin);
    else begin();
  }

  /** Resolves when none is under way. To be called when no more will come. */
  async settled(): Promise<void> {
    if (this.#underWay.size === 0) return;
    this.#settled ??= Promise.withResolvers<void>();
    await this.#settled.promise;
  }

  /** Ends every request under way, and those that come: there is no more time. */
  giveUp(): void {
    this.#givenUp = true;
    for (const end of [...this.#underWay]) end();
  }
}
