import type { PeakLatency } from './peak-latency.ts';
import type { ReportedLoad } from './reported-load.ts';

export interface BalancerEndpoint {
  /** `host:port`: what consistent hashes place on their tables. */
  readonly key: string;
  /** Share of the calls in relation to the others. 0 or less counts as a thousandth: picked hardly ever, but reachable. */
  readonly weight: number;
  /** Calls that are with this endpoint now. Kept by its owner. */
  activeRequests: number;
  /** How long it takes to answer; given to it by the balancer that looks at it, and fed by its owner. */
  latency: PeakLatency | undefined;
  /** What it says about its load; given to it by the balancer that looks at it, and fed by its owner. */
  reportedLoad: ReportedLoad | undefined;
}

/** 64 bits of a call by which it sticks to an endpoint; each half is an unsigned 32-bit number. */
export interface CallHash {
  readonly high: number;
  readonly low: number;
}

/** Says which endpoint gets the next attempt. */
export interface Balancer<E extends BalancerEndpoint> {
  /**
   * The endpoints from now on. Those that stay keep their turn, so that a change of one does not send a burst to another.
   * `weights`, where given, count in the place of the endpoints' own.
   */
  update(endpoints: readonly E[], weights?: readonly number[]): void;
  /**
   * The next endpoint of those that `usable` accepts (all, where it is `undefined`), or `undefined` where it accepts none. Finds one
   * wherever there is one; where few are usable this costs one pass over all of them.
   *
   * @param nowMs monotonic time.
   * @param hash of the call; only consistent hashes look at it, and take a random one where it is `undefined`.
   */
  pick(usable: Usable<E> | undefined, nowMs: number, hash: CallHash | undefined): E | undefined;
}

export type Usable<E> = (endpoint: E) => boolean;
