import type { ConcurrencyLimits, RetryBudget, RetryContext } from '../resilience/index.ts';

/**
 * Room for calls in a cluster, as long as its retry budget stays the same. A call keeps the one that let it in, and gives back to
 * that one, whatever is reloaded meanwhile. It is what a `RetryMachine` needs.
 */
export class Admission implements RetryContext {
  readonly budget: RetryBudget;
  readonly limits: ConcurrencyLimits;
  readonly random: () => number;

  constructor(limits: ConcurrencyLimits, budget: RetryBudget, random: () => number) {
    this.limits = limits;
    this.budget = budget;
    this.random = random;
  }

  /** The call has ended. */
  release(): void {
    this.limits.requests.leave();
    this.budget.end();
  }
}
