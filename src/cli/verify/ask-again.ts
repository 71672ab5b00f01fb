import type { Clock } from '../../core/index.ts';
import type { CheckResult } from './check-result.ts';

const pollMs = 250;

/** What was found; `mayChange`: it is to be expected that it will be something else in a moment. */
export interface Found {
  readonly result: CheckResult;
  readonly mayChange: boolean;
}

/** Asks again and again until the answer is final or `patienceMs` have passed; then the last one has to do. */
export const askAgain = async (clock: Clock, patienceMs: number, ask: () => Promise<Found>): Promise<CheckResult> => {
  const giveUpAtMs = clock.now() + patienceMs;
  for (;;) {
    const { result, mayChange } = await ask();
    if (!mayChange || clock.now() >= giveUpAtMs) return result;
    await new Promise<void>((resolve) => void clock.setTimer(resolve, pollMs));
  }
};

export const final = (result: CheckResult): Found => ({ result, mayChange: false });
export const passing = (result: CheckResult): Found => ({ result, mayChange: true });
