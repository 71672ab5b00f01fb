import type { HealthCheckTimes } from './health-options.ts';

/**
 * How a check failed, in Envoy's words. `active`: the endpoint answered that it does not serve. `network`: there was no connection, or it was
 * lost. `network_timeout`: no answer in time. `passive`: it was noticed between two checks.
 */
export type HealthCheckFailure = 'active' | 'network' | 'network_timeout' | 'passive';

/** What a result has done. `pending`: more of the same are needed before the state changes. */
export type HealthTransition = 'unchanged' | 'pending' | 'changed';

/**
 * What is known of the health of one endpoint: Envoy's state machine, without time and without I/O. The first result decides alone, in either
 * direction; later ones need the thresholds, except for an endpoint that says by itself that it does not serve.
 */
export class HostHealth {
  /** Calls are not to go to it. Before the first result it is what the owner said. */
  failing: boolean;
  /** There was a result. */
  checked = false;
  /** The last failure, while it is failing; for people. */
  failure: HealthCheckFailure | undefined = undefined;
  #successes = 0;
  #failures = 0;
  #lastPassed = false;
  #lastTransition: HealthTransition = 'unchanged';
  /** Its checks are no longer in step with those of everybody who began at the same time. */
  #scattered = false;

  /** @param failingAtFirst whether it is to be left out until it has passed a check. */
  constructor(failingAtFirst: boolean) {
    this.failing = failingAtFirst;
  }

  succeed(times: HealthCheckTimes): HealthTransition {
    this.#failures = 0;
    this.#lastPassed = true;
    let transition: HealthTransition = 'unchanged';
    if (this.failing) {
      this.#successes++;
      transition = !this.checked || this.#successes >= times.healthyThreshold ? 'changed' : 'pending';
      if (transition === 'changed') {
        this.failing = false;
        this.failure = undefined;
      }
    }
    this.checked = true;
    this.#lastTransition = transition;
    return transition;
  }

  fail(times: HealthCheckTimes, failure: HealthCheckFailure): HealthTransition {
    this.#successes = 0;
    this.#lastPassed = false;
    let transition: HealthTransition = 'unchanged';
    if (this.failing) this.failure = failure;
    else {
      this.#failures++;
      const enough = !this.checked || failure === 'active' || this.#failures >= times.unhealthyThreshold;
      transition = enough ? 'changed' : 'pending';
      if (enough) {
        this.failing = true;
        this.failure = failure;
      }
    }
    this.checked = true;
    this.#lastTransition = transition;
    return transition;
  }

  /** Results of the same kind are missing before the state may change. */
  get pending(): boolean {
    return this.#lastTransition === 'pending';
  }

  /** Failures in a row of an endpoint that is not failing yet. */
  get failuresInARow(): number {
    return this.#failures;
  }

  /**
   * How long to wait for the next check, in milliseconds.
   * @param hadTraffic some call has gone to the cluster.
   * @param random from 0 to 1.
   */
  nextDelayMs(times: HealthCheckTimes, hadTraffic: boolean, random: () => number): number {
    const baseMs = this.#baseMs(times, hadTraffic);
    const jitterMs = random() * ((baseMs * times.intervalJitterPercent) / 100) + random() * times.intervalJitterMs;
    if (this.#scattered || this.pending) return baseMs + jitterMs;
    // A fleet that is started together would check in one burst at each interval for ever after.
    this.#scattered = true;
    return baseMs * (leastOfFirst + (1 - leastOfFirst) * random()) + jitterMs;
  }

  #baseMs(times: HealthCheckTimes, hadTraffic: boolean): number {
    if (!hadTraffic) return this.#lastPassed ? times.noTrafficHealthyIntervalMs : times.noTrafficIntervalMs;
    if (this.pending) return this.#lastPassed ? times.healthyEdgeIntervalMs : times.unhealthyEdgeIntervalMs;
    return this.#lastPassed ? times.intervalMs : times.unhealthyIntervalMs;
  }
}

const leastOfFirst = 0.1;
