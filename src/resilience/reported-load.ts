/** What a service says of itself in an ORCA load report (xds.data.orca.v3.OrcaLoadReport), as far as balancing looks at it. */
export interface LoadReport {
  /** 0 where it was not said. 1 is all of it; may be more. */
  readonly applicationUtilization: number;
  readonly cpuUtilization: number;
  /** Calls a second. */
  readonly qps: number;
  /** Failed calls a second. */
  readonly eps: number;
  /** By name (`named_metrics.queue`, `utilization.disk`), for who wants to balance by something of his own. */
  readonly named: ReadonlyMap<string, number>;
}

export interface ReportedLoadOptions {
  /** How long reports must have come before they count; a service that starts is not itself yet. 0: at once. */
  readonly blackoutPeriodMs: number;
  /** A report counts for so long; then the endpoint is taken for an average one. 0: for ever. */
  readonly weightExpirationPeriodMs: number;
  /** Weights are taken over at most so often. */
  readonly weightUpdatePeriodMs: number;
  /** How much failed calls weigh: `eps / qps * penalty` is added to the utilization. */
  readonly errorUtilizationPenalty: number;
  /** Names in `LoadReport.named` of which the greatest is the utilization, where `applicationUtilization` was not said. */
  readonly metricNames: readonly string[];
}

/** gRFC A58's, and Envoy's. */
export const defaultReportedLoad: ReportedLoadOptions = {
  blackoutPeriodMs: 10_000,
  weightExpirationPeriodMs: 180_000,
  weightUpdatePeriodMs: 1_000,
  errorUtilizationPenalty: 1,
  metricNames: [],
};

/** The weight of one endpoint as its reports make it (gRFC A58). */
export class ReportedLoad {
  #options: ReportedLoadOptions;
  #weight = 0;
  /** When reports began to come without a break; infinite where none has. */
  #nonEmptySinceMs = Number.POSITIVE_INFINITY;
  #updatedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: ReportedLoadOptions) {
    this.#options = options;
  }

  use(options: ReportedLoadOptions): void {
    this.#options = options;
  }

  report(report: LoadReport, nowMs: number): void {
    const utilization = this.#utilizationOf(report);
    if (!(report.qps > 0) || !(utilization > 0)) return;
    const penalty = report.eps > 0 ? (report.eps / report.qps) * this.#options.errorUtilizationPenalty : 0;
    const weight = report.qps / (utilization + penalty);
    if (!(weight > 0) || weight === Number.POSITIVE_INFINITY) return;
    if (this.#nonEmptySinceMs === Number.POSITIVE_INFINITY) this.#nonEmptySinceMs = nowMs;
    this.#updatedAtMs = nowMs;
    this.#weight = weight;
  }

  /** The weight now; 0 where it is not known, not yet or not any more. */
  weightAt(nowMs: number): number {
    const { blackoutPeriodMs, weightExpirationPeriodMs } = this.#options;
    if (weightExpirationPeriodMs > 0 && nowMs - this.#updatedAtMs >= weightExpirationPeriodMs) {
      // What comes after a silence begins anew, blackout included.
      this.#nonEmptySinceMs = Number.POSITIVE_INFINITY;
      return 0;
    }
    if (blackoutPeriodMs > 0 && !(nowMs - this.#nonEmptySinceMs >= blackoutPeriodMs)) return 0;
    return this.#weight;
  }

  #utilizationOf({ applicationUtilization, cpuUtilization, named }: LoadReport): number {
    if (applicationUtilization > 0) return applicationUtilization;
    let greatest = 0;
    for (const name of this.#options.metricNames) greatest = Math.max(greatest, named.get(name) ?? 0);
    return greatest > 0 ? greatest : cpuUtilization;
  }
}
