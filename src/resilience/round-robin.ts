import type { Balancer, BalancerEndpoint, Usable } from './balancer.ts';
import { TurnSchedule } from './turn-schedule.ts';

/** Each in turn, by weight, smoothly. */
export class RoundRobinBalancer<E extends BalancerEndpoint> implements Balancer<E> {
  readonly #schedule: TurnSchedule<E>;

  constructor(random: () => number) {
    this.#schedule = new TurnSchedule<E>(random);
  }

  update(endpoints: readonly E[]): void {
    this.#schedule.update(endpoints);
  }

  pick(usable: Usable<E> | undefined): E | undefined {
    return this.#schedule.next(usable, undefined);
  }
}
