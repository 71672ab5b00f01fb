import type { Direction } from '../policy/index.ts';
import type { StatSink, StatSource } from '../telemetry/index.ts';

/** What the traffic policies of one direction did; names are Envoy's `http.<direction>.*`. */
export class TrafficStats implements StatSource {
  requestsTooLarge = 0;
  responsesTooLarge = 0;
  maxDurationReached = 0;
  idleTimeouts = 0;
  delaysInjected = 0;
  abortsInjected = 0;
  responseRateLimitsInjected = 0;
  /** Faults that were drawn, and not injected: as many as are allowed were active. */
  faultsOverflow = 0;
  activeFaults = 0;
  mirrorsSent = 0;
  /** Copies that were not made, or given up: nobody to take them, no room, or a server that cannot keep up. */
  mirrorsDropped = 0;
  mirrorsActive = 0;
  readonly #prefix: string;

  constructor(direction: Direction) {
    this.#prefix = `http.${direction}`;
  }

  collectStats(sink: StatSink): void {
    const prefix = this.#prefix;
    sink.counter(`${prefix}.downstream_rq_too_large`, this.requestsTooLarge);
    sink.counter(`${prefix}.rs_too_large`, this.responsesTooLarge);
    sink.counter(`${prefix}.downstream_rq_max_duration_reached`, this.maxDurationReached);
    sink.counter(`${prefix}.downstream_rq_idle_timeout`, this.idleTimeouts);
    sink.counter(`${prefix}.fault.delays_injected`, this.delaysInjected);
    sink.counter(`${prefix}.fault.aborts_injected`, this.abortsInjected);
    sink.counter(`${prefix}.fault.response_rl_injected`, this.responseRateLimitsInjected);
    sink.counter(`${prefix}.fault.faults_overflow`, this.faultsOverflow);
    sink.gauge(`${prefix}.fault.active_faults`, this.activeFaults);
    sink.counter(`${prefix}.mirror.rq_total`, this.mirrorsSent);
    sink.counter(`${prefix}.mirror.rq_dropped`, this.mirrorsDropped);
    sink.gauge(`${prefix}.mirror.rq_active`, this.mirrorsActive);
  }
}
