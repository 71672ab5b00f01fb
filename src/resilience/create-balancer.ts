import type { Balancer, BalancerEndpoint } from './balancer.ts';
import { LeastRequestBalancer } from './least-request.ts';
import { RandomBalancer } from './random-balancer.ts';
import { RoundRobinBalancer } from './round-robin.ts';

export const lbPolicies = ['round_robin', 'random', 'least_request'] as const;
export type LbPolicy = (typeof lbPolicies)[number];

/** A balancer without endpoints yet. `random` gives numbers in [0, 1); by it fleets that start together do not call in step. */
export const createBalancer = <E extends BalancerEndpoint>(policy: LbPolicy, random: () => number): Balancer<E> => {
  switch (policy) {
    case 'round_robin':
      return new RoundRobinBalancer<E>(random);
    case 'random':
      return new RandomBalancer<E>(random);
    case 'least_request':
      return new LeastRequestBalancer<E>(random);
  }
};
