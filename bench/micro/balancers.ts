/**
 * What a pick costs, by policy, number of endpoints and share of them that is usable. Run: `node bench/micro/balancers.ts`.
 * Nanoseconds per pick, the best of five rounds.
 */
import { performance } from 'node:perf_hooks';
import { type BalancerEndpoint, createBalancer, lbPolicies } from '../../src/resilience/index.ts';

interface BenchEndpoint extends BalancerEndpoint {
  readonly usable: boolean;
}

const rounds = 5;
const cases: readonly { readonly name: string; readonly usableEvery: number }[] = [
  { name: 'all usable', usableEvery: 0 },
  { name: 'half usable', usableEvery: 2 },
  { name: '1 in 1000 usable', usableEvery: 1_000 },
];

for (const policy of lbPolicies) {
  for (const count of [3, 100, 10_000]) {
    for (const weights of ['equal', 'unequal'] as const) {
      for (const { name, usableEvery } of cases) {
        const balancer = createBalancer<BenchEndpoint>(policy, Math.random);
        balancer.update(
          Array.from({ length: count }, (_, i) => ({
            weight: weights === 'equal' ? 1 : 1 + (i % 7),
            activeRequests: i % 5,
            usable: usableEvery === 0 || i % usableEvery === 0,
          })),
        );
        const usable = usableEvery === 0 ? undefined : (endpoint: BenchEndpoint) => endpoint.usable;
        const picks = usableEvery === 1_000 && count > 100 ? 300 : 50_000;
        let bestNs = Number.POSITIVE_INFINITY;
        for (let round = 0; round < rounds; round++) {
          const startedMs = performance.now();
          for (let i = 0; i < picks; i++) balancer.pick(usable);
          bestNs = Math.min(bestNs, ((performance.now() - startedMs) * 1e6) / picks);
        }
        process.stdout.write(
          `${policy.padEnd(14)}${String(count).padStart(7)} ${weights.padEnd(8)}${name.padEnd(18)}${bestNs.toFixed(0).padStart(8)} ns\n`,
        );
      }
    }
  }
}
