import { OutlierHost, type OutlierResult, type ResultTally } from './outlier-host.ts';
import { type OutlierKind, type OutlierOptions, outlierKinds } from './outlier-options.ts';

/** Why an ejection has ended. */
export type ReturnReason = 'time' | 'by_hand' | 'health_check' | 'not_configured';

/** For who keeps the endpoints. */
export interface OutlierListener<K> {
  /** @param enforced false: it was found, and left in for `enforcing_...`. */
  onEjection(key: K, host: OutlierHost, kind: OutlierKind, enforced: boolean): void;
  onReturn(key: K, host: OutlierHost, why: ReturnReason): void;
}

/** Envoy's statistics of the same names. */
export class OutlierCounts {
  ejectionsEnforcedTotal = 0;
  /** Outliers that stayed since `max_ejection_percent` was reached. */
  ejectionsOverflow = 0;
  readonly detected: Record<OutlierKind, number> = zeroes();
  readonly enforced: Record<OutlierKind, number> = zeroes();
}

const zeroes = (): Record<OutlierKind, number> => Object.fromEntries(outlierKinds.map((kind) => [kind, 0])) as Record<OutlierKind, number>;

/**
 * Finds endpoints that do worse than the others and takes them out for a while: Envoy's outlier detection, with its arithmetic. Pure:
 * `report` at the end of every attempt, `sweep` once an interval, time and chance as parameters. It is fed by what a call really
 * came to, in trailers as well as in headers.
 */
export class OutlierDetection<K> {
  readonly counts: OutlierCounts;
  readonly #hosts = new Map<K, OutlierHost>();
  readonly #listener: OutlierListener<K>;
  readonly #random: () => number;
  #options: OutlierOptions;
  #ejected = 0;
  /** Of the last sweep, for people: the mean of all success rates, and what was the least that stayed; -1: too few. */
  successRateAverage = -1;
  successRateThreshold = -1;

  constructor(options: OutlierOptions, listener: OutlierListener<K>, random: () => number, counts = new OutlierCounts()) {
    this.#options = options;
    this.#listener = listener;
    this.#random = random;
    this.counts = counts;
  }

  get options(): OutlierOptions {
    return this.#options;
  }

  /** Endpoints that are ejected now. */
  get active(): number {
    return this.#ejected;
  }

  /** Other numbers; what is remembered stays. */
  update(options: OutlierOptions): void {
    this.#options = options;
  }

  /** A new endpoint. */
  admit(key: K): OutlierHost {
    const host = new OutlierHost();
    this.#hosts.set(key, host);
    return host;
  }

  /** It is no longer one of the cluster's. */
  forget(key: K): void {
    if (this.#hosts.get(key)?.ejected === true) this.#ejected--;
    this.#hosts.delete(key);
  }

  /** An attempt has ended. */
  report(key: K, host: OutlierHost, result: OutlierResult, nowMs: number): void {
    const local = result === 'local_origin_failure';
    if (local && this.#options.splitExternalLocalOriginErrors) {
      host.localOrigin.total++;
      host.consecutiveLocalOriginFailures++;
      if (host.consecutiveLocalOriginFailures === this.#options.consecutiveLocalOriginFailure) {
        host.consecutiveLocalOriginFailures = 0;
        this.#onOutlier(key, host, 'consecutive_local_origin_failure', nowMs);
      }
      return;
    }
    // An answer, whatever it says, came over a connection that works.
    host.localOrigin.total++;
    host.localOrigin.successes++;
    host.consecutiveLocalOriginFailures = 0;
    host.external.total++;
    if (result === 'success') {
      host.external.successes++;
      host.consecutive5xx = 0;
      host.consecutiveGatewayFailures = 0;
      return;
    }
    if (result === 'server_error') host.consecutiveGatewayFailures = 0;
    else {
      host.consecutiveGatewayFailures++;
      if (host.consecutiveGatewayFailures === this.#options.consecutiveGatewayFailure) {
        host.consecutiveGatewayFailures = 0;
        this.#onOutlier(key, host, 'consecutive_gateway_failure', nowMs);
      }
    }
    host.consecutive5xx++;
    if (host.consecutive5xx === this.#options.consecutive5xx) {
      host.consecutive5xx = 0;
      this.#onOutlier(key, host, 'consecutive_5xx', nowMs);
    }
  }

  /** An interval is over: some return, and those whose rates stand out are ejected. */
  sweep(nowMs: number): void {
    for (const [key, host] of this.#hosts) {
      if (host.ejected) {
        if (nowMs >= host.returnsAtMs) this.#return(key, host, 'time');
      } else if (host.ejectTimeFactor > 0) host.ejectTimeFactor--;
    }
    this.#judgeRates((host) => host.external, 'success_rate', 'failure_percentage', nowMs);
    if (this.#options.splitExternalLocalOriginErrors) {
      this.#judgeRates((host) => host.localOrigin, 'local_origin_success_rate', 'local_origin_failure_percentage', nowMs);
    }
    for (const host of this.#hosts.values()) {
      host.external.clear();
      host.localOrigin.clear();
    }
  }

  /** By hand, or since a health check has passed. False where it is not ejected. */
  uneject(key: K, why: 'by_hand' | 'health_check' = 'by_hand'): boolean {
    const host = this.#hosts.get(key);
    if (host?.ejected !== true) return false;
    host.ejectTimeFactor = 0;
    this.#return(key, host, why);
    return true;
  }

  /** Nobody is to be ejected any more: all return. */
  dispose(): void {
    for (const [key, host] of this.#hosts) if (host.ejected) this.#return(key, host, 'not_configured');
    this.#hosts.clear();
    this.#ejected = 0;
  }

  #onOutlier(key: K, host: OutlierHost, kind: OutlierKind, nowMs: number): void {
    if (host.ejected) return;
    this.counts.detected[kind]++;
    // Nobody wants to hear of a kind that is switched off.
    if (this.#options.enforcing[kind] === 0) return;
    const { alwaysEjectOneHost, maxEjectionPercent } = this.#options;
    const percent = (100 * (this.#ejected + 1)) / this.#hosts.size;
    if (percent > maxEjectionPercent && !(alwaysEjectOneHost && this.#ejected === 0)) {
      this.counts.ejectionsOverflow++;
      return;
    }
    if (this.#random() * 100 >= this.#options.enforcing[kind]) {
      this.#listener.onEjection(key, host, kind, false);
      return;
    }
    host.ejectedFor = kind;
    this.#eject(host, nowMs);
    this.counts.enforced[kind]++;
    this.counts.ejectionsEnforcedTotal++;
    this.#listener.onEjection(key, host, kind, true);
  }

  #eject(host: OutlierHost, nowMs: number): void {
    const { baseEjectionTimeMs, maxEjectionTimeJitterMs, maxEjectionTimeMs } = this.#options;
    // A limit below the base would shorten every ejection.
    const mostMs = Math.max(maxEjectionTimeMs, baseEjectionTimeMs);
    this.#ejected++;
    host.ejected = true;
    host.ejectionsTotal++;
    host.ejectedAtMs = nowMs;
    if (host.ejectTimeFactor * baseEjectionTimeMs < mostMs + baseEjectionTimeMs) host.ejectTimeFactor++;
    const forMs = Math.min(baseEjectionTimeMs * host.ejectTimeFactor, mostMs);
    host.returnsAtMs = nowMs + forMs + this.#random() * maxEjectionTimeJitterMs;
  }

  #return(key: K, host: OutlierHost, why: ReturnReason): void {
    this.#ejected--;
    host.forgive();
    this.#listener.onReturn(key, host, why);
  }

  /** Success rate: far below the mean of all. Failure percentage: above a fixed limit. */
  #judgeRates(
    tallyOf: (host: OutlierHost) => ResultTally,
    rateKind: 'success_rate' | 'local_origin_success_rate',
    percentageKind: 'failure_percentage' | 'local_origin_failure_percentage',
    nowMs: number,
  ): void {
    const options = this.#options;
    const compared: { readonly key: K; readonly host: OutlierHost; readonly rate: number }[] = [];
    const limited: typeof compared = [];
    for (const [key, host] of this.#hosts) {
      const tally = tallyOf(host);
      tally.successRate = -1;
      if (host.ejected || tally.total === 0) continue;
      const rate = (100 * tally.successes) / tally.total;
      if (tally.total >= options.successRateRequestVolume) {
        tally.successRate = rate;
        compared.push({ key, host, rate });
      }
      if (tally.total >= options.failurePercentageRequestVolume) limited.push({ key, host, rate });
    }
    const enough = compared.length >= options.successRateMinimumHosts && compared.length > 0;
    const { average, threshold } = enough ? rateThreshold(compared, options.successRateStdevFactor / 1_000) : none;
    if (rateKind === 'success_rate') {
      this.successRateAverage = average;
      this.successRateThreshold = threshold;
    }
    if (enough) for (const { key, host, rate } of compared) if (rate < threshold) this.#onOutlier(key, host, rateKind, nowMs);
    if (limited.length < options.failurePercentageMinimumHosts) return;
    for (const { key, host, rate } of limited) {
      if (100 - rate >= options.failurePercentageThreshold) this.#onOutlier(key, host, percentageKind, nowMs);
    }
  }
}

const none = { average: -1, threshold: -1 };

/** The mean less so many standard deviations. */
const rateThreshold = (
  compared: readonly { readonly rate: number }[],
  factor: number,
): { readonly average: number; readonly threshold: number } => {
  const average = compared.reduce((sum, { rate }) => sum + rate, 0) / compared.length;
  const variance = compared.reduce((sum, { rate }) => sum + (rate - average) ** 2, 0) / compared.length;
  return { average, threshold: average - factor * Math.sqrt(variance) };
};
