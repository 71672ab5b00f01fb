import type { StatSink } from '../../telemetry/index.ts';

/** What health checks count, under Envoy's names with a capital in the place of an underscore. */
export class HealthCheckStats {
  attempt = 0;
  success = 0;
  failure = 0;
  /** A `Watch` that ended between two checks. */
  passiveFailure = 0;
  /** Failures without an answer. */
  networkFailure = 0;

  collect(prefix: string, sink: StatSink): void {
    sink.counter(`${prefix}attempt`, this.attempt);
    sink.counter(`${prefix}success`, this.success);
    sink.counter(`${prefix}failure`, this.failure);
    sink.counter(`${prefix}passive_failure`, this.passiveFailure);
    sink.counter(`${prefix}network_failure`, this.networkFailure);
    // No check of ours looks at the name that an endpoint gives itself: TLS does.
    sink.counter(`${prefix}verify_cluster`, 0);
  }
}
