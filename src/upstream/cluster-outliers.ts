import { Deadline, type Logger } from '../core/index.ts';
import type { Engine } from '../http2/index.ts';
import {
  OutlierCounts,
  OutlierDetection,
  type OutlierHost,
  type OutlierKind,
  type OutlierListener,
  type OutlierOptions,
  type ReturnReason,
} from '../resilience/index.ts';
import { type Endpoint, Unhealthy } from './endpoint.ts';

export interface ClusterOutliersOptions {
  readonly cluster: string;
  readonly engine: Engine;
  readonly log: Logger;
  readonly random: () => number;
  /** The health of some endpoint has changed. */
  readonly onHealthChanged: () => void;
}

/**
 * Outlier detection of one cluster: the machine, its interval, and what it says in the log. It survives every reload that leaves
 * `outlier_detection` in the policy; without it, all that are ejected return.
 */
export class ClusterOutliers implements OutlierListener<Endpoint> {
  readonly #deadline = new Deadline(this);
  readonly counts = new OutlierCounts();
  readonly #options: ClusterOutliersOptions;
  #detection: OutlierDetection<Endpoint> | undefined;

  constructor(options: ClusterOutliersOptions) {
    this.#options = options;
  }

  /** `undefined`: nobody is ejected. */
  get detection(): OutlierDetection<Endpoint> | undefined {
    return this.#detection;
  }

  /** Endpoints that are ejected now. */
  get active(): number {
    return this.#detection?.active ?? 0;
  }

  /** Takes over the policy, for the endpoints that there are. */
  update(policy: OutlierOptions | undefined, endpoints: readonly Endpoint[]): void {
    const { engine, random } = this.#options;
    if (policy === undefined) {
      this.close();
      for (const endpoint of endpoints) endpoint.outlier = undefined;
      return;
    }
    const former = this.#detection;
    if (former === undefined) {
      this.#detection = new OutlierDetection<Endpoint>(policy, this, random, this.counts);
      for (const endpoint of endpoints) this.admit(endpoint);
    } else former.update(policy);
    if (former === undefined || former.options.intervalMs !== policy.intervalMs)
      engine.wheel.arm(this.#deadline, engine.clock.now() + policy.intervalMs);
  }

  admit(endpoint: Endpoint): void {
    endpoint.outlier = this.#detection?.admit(endpoint);
  }

  forget(endpoint: Endpoint): void {
    this.#detection?.forget(endpoint);
    endpoint.outlier = undefined;
  }

  /** All return, and nobody is watched any more. */
  close(): void {
    this.#options.engine.wheel.cancel(this.#deadline);
    this.#detection?.dispose();
    this.#detection = undefined;
  }

  expire(): void {
    const { engine } = this.#options;
    const nowMs = engine.tick();
    if (this.#detection === undefined) return;
    this.#detection.sweep(nowMs);
    engine.wheel.arm(this.#deadline, nowMs + this.#detection.options.intervalMs);
  }

  onEjection(endpoint: Endpoint, host: OutlierHost, kind: OutlierKind, enforced: boolean): void {
    const { cluster, log, onHealthChanged } = this.#options;
    const fields = { cluster, endpoint: endpoint.key, type: kind, num_ejections: host.ejectionsTotal, enforced };
    if (!enforced) {
      log.info('outlier found', fields);
      return;
    }
    endpoint.setUnhealthy(Unhealthy.ejected, true);
    onHealthChanged();
    log.warning('endpoint ejected', { ...fields, for_ms: Math.round(host.returnsAtMs - host.ejectedAtMs), ...this.#rates(host, kind) });
  }

  onReturn(endpoint: Endpoint, host: OutlierHost, why: ReturnReason): void {
    const { cluster, log, onHealthChanged } = this.#options;
    endpoint.setUnhealthy(Unhealthy.ejected, false);
    onHealthChanged();
    log.info('endpoint returned', { cluster, endpoint: endpoint.key, why, num_ejections: host.ejectionsTotal });
  }

  #rates({ external, localOrigin }: OutlierHost, kind: OutlierKind): Readonly<Record<string, number>> {
    const detection = this.#detection as OutlierDetection<Endpoint>;
    switch (kind) {
      case 'success_rate':
        return {
          host_success_rate: round(external.successRate),
          cluster_average_success_rate: round(detection.successRateAverage),
          cluster_success_rate_ejection_threshold: round(detection.successRateThreshold),
        };
      case 'local_origin_success_rate':
        return { host_success_rate: round(localOrigin.successRate) };
      case 'failure_percentage':
        return { host_success_rate: round((100 * external.successes) / external.total) };
      case 'local_origin_failure_percentage':
        return { host_success_rate: round((100 * localOrigin.successes) / localOrigin.total) };
      default:
        return {};
    }
  }
}

const round = (percent: number): number => Math.round(percent * 100) / 100;
