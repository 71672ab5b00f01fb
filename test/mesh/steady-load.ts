import type { Answer, Caller, CallOptions } from './caller.ts';

/** Calls at a steady rate until it is stopped, whatever becomes of them. */
export class SteadyLoad {
  calls = 0;
  /** Answers other than OK, as `reason: message`. */
  readonly failures: string[] = [];
  /** Calls that a sidecar shed since others on the machine kept it from its core: no failure of what is tested. */
  shed = 0;
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
    if (this.shed > this.calls / 2) throw new Error(`${this.shed} of ${this.calls} calls were shed for want of CPU: nothing was tested`);
  }

  #call(caller: Caller, options: CallOptions): void {
    const done = caller.call(options).then(
      ({ status, reason, message }: Answer) => {
        if (reason === 'overloaded' && message.includes('short of CPU')) this.shed++;
        else if (status !== 0) this.failures.push(`${status} ${reason}: ${message}`);
      },
      (error: Error) => void this.failures.push(error.message),
    );
    const settled = done.finally(() => this.#underWay.delete(settled));
    this.#underWay.add(settled);
  }
}
