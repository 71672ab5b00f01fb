import type { Fate } from '../core/index.ts';
import type { Connection, Engine, HeaderBlock, SheddingOwner, Stream } from '../http2/index.ts';
import type { Direction, PolicyTable } from '../policy/index.ts';
import type { CrossHopGuard } from '../resilience/index.ts';
import type { CallMetrics, CallObserver, CallTracer, MethodMetrics, StatSink, StatSource } from '../telemetry/index.ts';
import type { Cluster } from '../upstream/index.ts';
import { BoundTable } from './bound-table.ts';
import { Call } from './call.ts';
import { EndedCallView } from './ended-call-view.ts';
import type { Listener } from './listener.ts';
import type { Overload } from './overload/overload.ts';
import { shedCall } from './overload/shed-call.ts';
import type { ReplayBuffers } from './replay-buffer.ts';
import { RetryThrottles } from './retry-throttles.ts';
import { runStages } from './stages.ts';
import { Stickiness } from './stickiness.ts';
import { TrafficState } from './traffic/traffic-state.ts';
import { TrafficStats } from './traffic-stats.ts';

export interface DirectionContext {
  readonly direction: Direction;
  readonly engine: Engine;
  readonly callMetrics: CallMetrics;
  readonly replayBuffers: ReplayBuffers;
  readonly overload: Overload;
  /** The same for both directions. */
  readonly guard: CrossHopGuard;
  /** From 0 to 1, for new cookies. */
  readonly random: () => number;
  /** Inbound: the local service whatever the name. */
  readonly cluster: (name: string) => Cluster | undefined;
  /** A cluster that no policy has, made by its name; without it there is none. */
  readonly demand?: (name: string) => Cluster | 'too_many' | undefined;
  /** Ours: callers of it are known by the names of their services. */
  readonly trustDomain: string;
  /** The label `service` of a call to the cluster of that name. */
  readonly serviceLabel: (clusterName: string) => string;
  /** Who hears of each call that has ended. */
  readonly observers?: readonly CallObserver[];
  /** Gives calls their place in a trace; `undefined`: what callers say of that passes through. */
  readonly tracer?: CallTracer;
}

/** Everything that calls of one direction share. */
export class DirectionProxy implements StatSource {
  readonly direction: Direction;
  readonly engine: Engine;
  readonly replayBuffers: ReplayBuffers;
  readonly guard: CrossHopGuard;
  readonly retryThrottles = new RetryThrottles();
  readonly stickiness: Stickiness;
  readonly trafficStats: TrafficStats;
  readonly trafficState: TrafficState;
  /** From 0 to 1. */
  readonly random: () => number;
  /** Calls that ended before they had a route. */
  readonly unroutedMetrics: MethodMetrics;
  readonly tracer: CallTracer | undefined;
  /** Shows calls that have ended; `undefined`: nobody wants to know. */
  readonly endedCalls: EndedCallView | undefined;
  /** The policies in force. A call that has its route keeps it. */
  table: BoundTable;
  readonly #context: DirectionContext;

  constructor(context: DirectionContext, policies: PolicyTable) {
    this.direction = context.direction;
    this.engine = context.engine;
    this.replayBuffers = context.replayBuffers;
    this.guard = context.guard;
    this.stickiness = new Stickiness(context.random);
    this.trafficStats = new TrafficStats(context.direction);
    this.trafficState = new TrafficState(context.engine, context.random);
    this.random = context.random;
    this.#context = context;
    const { observers = [], tracer } = context;
    this.tracer = tracer;
    this.endedCalls = observers.length === 0 && tracer === undefined ? undefined : new EndedCallView(observers, tracer);
    this.unroutedMetrics = context.callMetrics.method(
      context.direction,
      context.direction === 'inbound' ? context.serviceLabel('') : 'other',
      'other',
    );
    this.table = this.#bind(policies);
  }

  /** Calls from here on follow `policies`. */
  use(policies: PolicyTable): void {
    this.table = this.#bind(policies);
  }

  /** By name; `undefined`: there is none. */
  cluster(name: string): Cluster | undefined {
    return this.#context.cluster(name);
  }

  /** A cluster that no policy has, made by its name where a source of discovery is asked; `too_many`: there are too many new names. */
  demand(name: string): Cluster | 'too_many' | undefined {
    return this.#context.demand?.(name);
  }

  collectStats(sink: StatSink): void {
    this.trafficStats.collectStats(sink);
    this.trafficState.collectStats(sink);
  }

  #bind(policies: PolicyTable): BoundTable {
    this.trafficState.use(policies, this.direction);
    return new BoundTable(policies, { ...this.#context, trafficState: this.trafficState });
  }

  /** A listener's `onRequest`. */
  readonly onRequest = (listener: Listener, connection: Connection, stream: Stream, _block: HeaderBlock, endStream: boolean): void => {
    listener.stats.requestsTotal++;
    const refusal = this.#context.overload.refuseForMemory();
    if (refusal !== undefined) {
      this.unroutedMetrics.record(refusal.status, 0);
      this.countFate(refusal.reason);
      shedCall(stream, refusal);
      return;
    }
    const call = new Call(this, stream, connection.keepBlock(), endStream);
    stream.handler = call;
    runStages(call);
  };

  /** A listener's `shedding`: requests that are refused before anything is made for them, each as `onRequest` would count it. */
  readonly shedding = (listener: Listener): SheddingOwner => {
    const { overload } = this.#context;
    const { reason, status } = overload.timeReply;
    const looksAtHeaders = (): boolean => this.table.hasHighPriority;
    return {
      refusal: overload.timeRefusal,
      get looksAtHeaders() {
        return looksAtHeaders();
      },
      spares: (block) => overload.spares(this.table, block),
      onShed: () => {
        listener.stats.requestsTotal++;
        this.unroutedMetrics.record(status, 0);
        this.countFate(reason);
        overload.onShed();
      },
    };
  };

  countFate(fate: Fate): void {
    this.#context.callMetrics.fate(this.direction, fate);
  }
}
