/**
 * What a pick costs, by policy, number of endpoints and share of them that is usable, and what a change of the endpoints costs.
 * Run: `node bench/micro/balancers.ts [policy...]`. Nanoseconds per pick, microseconds per change, the best of five rounds.
 */
import { performance } from 'node:perf_hooks';
import { defaultLoadBalancer, LoadBalancer, lbPolicies, type PooledEndpoint } from '../../src/resilience/index.ts';

interface BenchEndpoint extends PooledEndpoint {
  readonly usable: boolean;
}

const rounds = 5;
const cases: readonly {
  readonly name: string;
  readonly usableEvery: number;
  readonly healthyEvery: number;
  readonly priorities: number;
}[] = [
  { name: 'all usable', usableEvery: 0, healthyEvery: 1, priorities: 1 },
  { name: 'half usable', usableEvery: 2, healthyEvery: 1, priorities: 1 },
  { name: '1 in 1000 usable', usableEvery: 1_000, healthyEvery: 1, priorities: 1 },
  { name: '1 in 10 ejected', usableEvery: 0, healthyEvery: 10, priorities: 1 },
  { name: '3 priorities', usableEvery: 0, healthyEvery: 1, priorities: 3 },
];

const hashes = Array.from({ length: 4_096 }, () => ({
  hash: { high: Math.floor(Math.random() * 2 ** 32), low: Math.floor(Math.random() * 2 ** 32) },
  subset: undefined,
}));

const best = (measure: () => number): number => Math.min(...Array.from({ length: rounds }, measure));

for (const policy of lbPolicies.filter((name) => process.argv.length <= 2 || process.argv.includes(name))) {
  for (const count of [3, 100, 10_000]) {
    for (const weights of ['equal', 'unequal'] as const) {
      const measured: string[] = [];
      let updateUs = 0;
      for (const { usableEvery, healthyEvery, priorities } of cases) {
        const balancer = new LoadBalancer<BenchEndpoint>({ ...defaultLoadBalancer, policy }, Math.random);
        const endpoints = Array.from({ length: count }, (_, i) => ({
          key: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}:50051`,
          weight: weights === 'equal' ? 1 : 1 + (i % 7),
          activeRequests: i % 5,
          latency: undefined,
          reportedLoad: undefined,
          usable: usableEvery === 0 || i % usableEvery === 0,
          priority: i % priorities,
          locality: '',
          localityWeight: undefined,
          metadata: undefined,
          healthy: healthyEvery === 1 || i % healthyEvery !== 0,
          sinceMs: 0,
        }));
        balancer.update(endpoints);
        for (const [i, { latency, reportedLoad }] of endpoints.entries()) {
          (latency as { observe(rttMs: number, nowMs: number): void } | undefined)?.observe(1 + (i % 9), 100);
          const report = {
            applicationUtilization: 0.1 + (i % 9) / 10,
            cpuUtilization: 0,
            qps: 100,
            eps: 0,
            named: new Map<string, number>(),
          };
          (reportedLoad as { report(report: unknown, nowMs: number): void } | undefined)?.report(report, 0);
        }
        const usable = usableEvery === 0 ? undefined : (endpoint: BenchEndpoint) => endpoint.usable;
        const picks = usableEvery === 1_000 && count > 100 ? 300 : 50_000;
        const ns = best(() => {
          const startedMs = performance.now();
          // A new time now and then: balancers by time may not count on standing still.
          for (let i = 0; i < picks; i++) balancer.pick(usable, 20_000 + (i >> 10), hashes[i & 4_095]);
          return ((performance.now() - startedMs) * 1e6) / picks;
        });
        measured.push(ns.toFixed(0).padStart(17));
        if (measured.length > 1) continue;
        const changes = count > 100 ? 5 : 50;
        updateUs = best(() => {
          const startedMs = performance.now();
          for (let i = 0; i < changes; i++) balancer.update(i % 2 === 0 ? endpoints.slice(1) : endpoints);
          return ((performance.now() - startedMs) * 1e3) / changes;
        });
      }
      if (count === 3 && weights === 'equal')
        process.stdout.write(`${policy}, ns per pick: ${cases.map(({ name }) => name.padStart(17)).join('')}        us per change\n`);
      process.stdout.write(
        `${String(count).padStart(14)} ${weights.padEnd(8)}${measured.join('').slice(2)} ${updateUs.toFixed(1).padStart(20)}\n`,
      );
    }
  }
}
