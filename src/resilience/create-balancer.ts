import type { Balancer, BalancerEndpoint } from './balancer.ts';
import { defaultLeastRequest, LeastRequestBalancer, type LeastRequestOptions } from './least-request.ts';
import { LoadWeightedBalancer } from './load-weighted.ts';
import { defaultMaglev, MaglevBalancer, type MaglevOptions } from './maglev.ts';
import { PeakEwmaBalancer } from './peak-ewma.ts';
import { defaultPeakLatency, type PeakLatencyOptions } from './peak-latency.ts';
import { RandomBalancer } from './random-balancer.ts';
import { defaultReportedLoad, type ReportedLoadOptions } from './reported-load.ts';
import { defaultRingHash, RingHashBalancer, type RingHashOptions } from './ring-hash.ts';
import { RoundRobinBalancer } from './round-robin.ts';

export const lbPolicies = [
  'round_robin',
  'random',
  'least_request',
  'peak_ewma',
  'ring_hash',
  'maglev',
  'client_side_weighted_round_robin',
] as const;
export type LbPolicy = (typeof lbPolicies)[number];

/** What is special to each policy; only the part of the chosen one is looked at. */
export interface BalancerOptions {
  readonly leastRequest: LeastRequestOptions;
  readonly peakEwma: PeakLatencyOptions;
  readonly ringHash: RingHashOptions;
  readonly maglev: MaglevOptions;
  readonly reportedLoad: ReportedLoadOptions;
}

export const defaultBalancerOptions: BalancerOptions = Object.freeze({
  leastRequest: defaultLeastRequest,
  peakEwma: defaultPeakLatency,
  ringHash: defaultRingHash,
  maglev: defaultMaglev,
  reportedLoad: defaultReportedLoad,
});

/** Whether a call's hash decides. */
export const isConsistentHash = (policy: LbPolicy): boolean => policy === 'ring_hash' || policy === 'maglev';

/** A balancer without endpoints yet. `random` gives numbers in [0, 1); by it fleets that start together do not call in step. */
export const createBalancer = <E extends BalancerEndpoint>(
  policy: LbPolicy,
  random: () => number,
  options: BalancerOptions = defaultBalancerOptions,
): Balancer<E> => {
  switch (policy) {
    case 'round_robin':
      return new RoundRobinBalancer<E>(random);
    case 'random':
      return new RandomBalancer<E>(random);
    case 'least_request':
      return new LeastRequestBalancer<E>(options.leastRequest, random);
    case 'peak_ewma':
      return new PeakEwmaBalancer<E>(options.peakEwma, random);
    case 'ring_hash':
      return new RingHashBalancer<E>(options.ringHash, random);
    case 'maglev':
      return new MaglevBalancer<E>(options.maglev, random);
    case 'client_side_weighted_round_robin':
      return new LoadWeightedBalancer<E>(options.reportedLoad, random);
  }
};
