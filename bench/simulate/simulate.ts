import type { MeshPolicy } from './policies.ts';
import type { Scenario } from './scenarios.ts';
import { type Fleet, type Second, World } from './world.ts';

export interface RunOptions {
  readonly seed: number;
  /** Before the cause, in milliseconds. */
  readonly warmMs: number;
  /** After the cause, in milliseconds. */
  readonly tailMs: number;
}

/** What one policy made of one scenario. */
export interface Outcome {
  readonly scenario: string;
  readonly fleet: string;
  readonly policy: string;
  /** Share of calls that were answered OK in time: before the cause, while it lasted, and in the last ten seconds. */
  readonly goodput: { readonly before: number; readonly during: number; readonly atEnd: number };
  /** Attempts that reached a server, per call of which one did, while the cause lasted; by hop, and over all three. */
  readonly amplification: { readonly hops: readonly number[]; readonly total: number };
  /** Calls in flight in a sidecar of each hop, on average while the cause lasted. */
  readonly inFlight: readonly number[];
  /** From the end of the cause until goodput is 95 % of what it was and stays so; `null`: not within the run. */
  readonly recoveryMs: number | null;
  readonly recoveryTimeoutMs: number;
  readonly events: number;
}

/** Goodput is looked at over so many seconds, so that chance is no relapse. */
const windowSeconds = 3;
const recoveredShare = 0.95;

const goodputOf = (seconds: readonly Second[]): number => {
  const offered = seconds.reduce((sum, second) => sum + second.offered, 0);
  return offered === 0 ? 1 : seconds.reduce((sum, { good }) => sum + good, 0) / offered;
};

/** The end of the last window in which goodput was too low, after `fromSecond`; `null` where that is the last window of all. */
const recoveryOf = (seconds: readonly Second[], fromSecond: number, before: number): number | null => {
  for (let from = seconds.length - windowSeconds; from >= fromSecond; from--) {
    if (goodputOf(seconds.slice(from, from + windowSeconds)) >= recoveredShare * before) continue;
    return from === seconds.length - windowSeconds ? null : (from + 1 - fromSecond) * 1_000;
  }
  return 0;
};

/** Runs one scenario: good times, the cause, and what comes after it. The same options give the same outcome. */
export const simulate = (scenario: Scenario, fleet: Fleet, policy: MeshPolicy, { seed, warmMs, tailMs }: RunOptions): Outcome => {
  const world = new World(fleet, policy, seed);
  const { events } = world;
  world.load = scenario.load ?? 1;
  events.run(warmMs);
  for (const tally of world.tallies) tally.clear();
  scenario.begin(world);
  const causeEndMs = warmMs + scenario.causeMs;
  const samples: (readonly number[])[] = [];
  for (let atMs = warmMs + 500; atMs < causeEndMs; atMs += 500) {
    events.run(atMs);
    samples.push(world.inFlight);
  }
  events.run(causeEndMs);
  scenario.end(world);
  const hops = world.tallies.map(({ attempts, calls }) => (calls === 0 ? 1 : attempts / calls));
  events.run(causeEndMs + tailMs);
  // Calls of the last seconds may still be under way.
  const ended = Math.floor((causeEndMs + tailMs - fleet.deadlineMs) / 1_000);
  const seconds = world.seconds.slice(0, ended);
  const [warmSeconds, causeSeconds] = [Math.floor(warmMs / 1_000), Math.floor(causeEndMs / 1_000)];
  const before = goodputOf(seconds.slice(Math.floor(warmSeconds / 3), warmSeconds - Math.ceil(fleet.deadlineMs / 1_000)));
  return {
    scenario: scenario.name,
    fleet: fleet.name,
    policy: policy.name,
    goodput: { before, during: goodputOf(seconds.slice(warmSeconds, causeSeconds)), atEnd: goodputOf(seconds.slice(-10)) },
    amplification: { hops, total: hops.reduce((product, hop) => product * hop, 1) },
    inFlight: [0, 1, 2].map((hop) => samples.reduce((sum, sample) => sum + (sample[hop] as number), 0) / samples.length),
    recoveryMs: recoveryOf(seconds, causeSeconds, before),
    recoveryTimeoutMs: policy.breaker.recoveryTimeoutMs,
    events: events.happened,
  };
};

/** Of runs that differ in nothing but their seed: the worst of each figure. */
export const worstOf = (outcomes: readonly Outcome[]): Outcome => {
  const [first] = outcomes;
  if (first === undefined) throw new Error('the worst of no outcome at all; run at least one');
  const least = (of: (outcome: Outcome) => number): number => Math.min(...outcomes.map(of));
  const most = (of: (outcome: Outcome) => number): number => Math.max(...outcomes.map(of));
  const eachHop = (of: (outcome: Outcome) => readonly number[]): readonly number[] =>
    [0, 1, 2].map((hop) => most((o) => of(o)[hop] as number));
  const total = most(({ amplification }) => amplification.total);
  return {
    ...first,
    goodput: { before: least((o) => o.goodput.before), during: least((o) => o.goodput.during), atEnd: least((o) => o.goodput.atEnd) },
    amplification: { hops: eachHop(({ amplification }) => amplification.hops), total },
    inFlight: eachHop(({ inFlight }) => inFlight),
    recoveryMs: outcomes.some(({ recoveryMs }) => recoveryMs === null) ? null : most(({ recoveryMs }) => recoveryMs ?? 0),
    events: outcomes.reduce((sum, { events }) => sum + events, 0),
  };
};

/** What an outage must not become, whatever the scenario. */
export const targets = { inFlight: 64, perHop: 1.25, overThreeHops: 1.5, recoveryTimeouts: 2 } as const;

/** The targets that this outcome misses, in words. */
export const missedTargets = ({ amplification, inFlight, recoveryMs, recoveryTimeoutMs }: Outcome): readonly string[] => {
  const missed: string[] = [];
  amplification.hops.forEach((hop, i) => {
    if ((inFlight[i] as number) >= targets.inFlight && hop > targets.perHop)
      missed.push(`hop ${i + 1} has ${hop.toFixed(2)} attempts per call, at most ${targets.perHop} are wanted`);
  });
  if (inFlight.every((calls) => calls >= targets.inFlight) && amplification.total > targets.overThreeHops)
    missed.push(`three hops have ${amplification.total.toFixed(2)} attempts per call, at most ${targets.overThreeHops} are wanted`);
  const limitMs = targets.recoveryTimeouts * recoveryTimeoutMs;
  if (recoveryMs === null) missed.push('goodput does not come back');
  else if (recoveryMs > limitMs) missed.push(`goodput is back after ${recoveryMs / 1_000} s, at most ${limitMs / 1_000} s are wanted`);
  return missed;
};
