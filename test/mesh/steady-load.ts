import type { Answer, Caller, CallOptions } from './caller.ts';

/** Calls at a steady rate until it is stopped, whatever becomes of them. */
export class SteadyLoad {
  calls = 0;
  /** Answers other than OK, as `reason: message`. */
  readonly failures: string[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #underWay = new Set<Promise<void>>();

  constructor(caller: Caller, perSecond: number, options: CallOptions) {
    const startMs = performance.now();
    this.#timer = setInterval(() => {
      for (const due = ((performance.now() - startMs) * perSecond) / 1_000; this.calls < due; this.calls++) this.#call(caller, options);
    }, 5);
  }

  /** Resolves when the last call has its answer. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
  }

  #call(caller: Caller, options: CallOptions): void {
    const done = caller.call(options).then(
      ({ status, reason, message }: Answer) => {
        if (status !== 0) this.failures.push(`${status} ${reason}: ${message}`);
      },
      (error: Error) => void this.failures.push(error.message),
    );
    const settled = done.finally(() => this.#underWay.delete(settled));
    this.#underWay.add(settled);
  }
}
