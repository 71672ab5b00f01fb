/**
 * What retries, budgets, breakers and balancers make of an outage: the machines of `src/resilience` on virtual time, in meshes of three tiers.
 *
 *     npm run simulate -- [--quick] [--scenario outage] [--fleet busy] [--policy outrider] [--parts] [--seed 1] [--seeds 1] [--json]
 *                         [--clients 1000] [--servers 200] [--rate 1500] [--retries 3] [--recovery-timeout 60s]
 *
 * `--parts` adds Outrider without one or the other of its parts. `--policy` is the name of one that is built in, or a policy file whose first route and its cluster then hold for every hop; it may be
 * repeated, as may `--scenario`. `--seeds 5` runs everything with five seeds and prints the worst of each figure. Exits with 1 where Outrider's defaults miss a target.
 */
import { parseArgs } from 'node:util';
import { parseDurationMs } from '../../src/core/index.ts';
import { fleets, quickFleets } from './fleets.ts';
import { builtInPolicies, type MeshPolicy, policyOfFile, withRetries } from './policies.ts';
import { outcomeLine, outcomeTitle, summary } from './report.ts';
import { scenarios } from './scenarios.ts';
import { missedTargets, type Outcome, simulate, targets, worstOf } from './simulate.ts';
import type { Fleet } from './world.ts';

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    parts: { type: 'boolean', default: false },
    scenario: { type: 'string', multiple: true },
    fleet: { type: 'string', multiple: true },
    policy: { type: 'string', multiple: true },
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    clients: { type: 'string' },
    servers: { type: 'string' },
    rate: { type: 'string' },
    retries: { type: 'string' },
    'recovery-timeout': { type: 'string' },
  },
});

const fail = (message: string): never => {
  process.stderr.write(`${message}\n`);
  process.exit(2);
};

const wholeNumber = (name: string, text: string | undefined): number | undefined => {
  if (text === undefined) return undefined;
  return /^\d{1,7}$/.test(text) && (Number(text) > 0 || name === 'retries' || name === 'seed')
    ? Number(text)
    : fail(`--${name} ${text}: write a whole number above 0`);
};

const chosen = <T extends { readonly name: string }>(
  what: string,
  all: readonly T[],
  names: readonly string[] | undefined,
): readonly T[] =>
  names === undefined
    ? all
    : names.map(
        (name) =>
          all.find((each) => each.name === name) ??
          fail(`--${what} ${name}: one of ${all.map((each) => JSON.stringify(each.name)).join(', ')}`),
      );

const sized = (fleet: Fleet): Fleet => {
  const servers = wholeNumber('servers', flags.servers);
  return {
    ...fleet,
    clients: wholeNumber('clients', flags.clients) ?? fleet.clients,
    tiers: servers === undefined ? fleet.tiers : [servers, servers, servers],
    callsPerSecond: wholeNumber('rate', flags.rate) ?? fleet.callsPerSecond,
  };
};

const quickPolicies = ['outrider', 'envoy', 'istio', 'linkerd'];
const usualPolicies = ['outrider', 'outrider, no guard', 'envoy', 'istio', 'linkerd', 'no retries'];

const readPolicies = (): readonly MeshPolicy[] => {
  const names = flags.policy ?? (flags.quick ? quickPolicies : flags.parts ? builtInPolicies.map(({ name }) => name) : usualPolicies);
  const retries = wholeNumber('retries', flags.retries);
  const timeoutText = flags['recovery-timeout'];
  const recoveryTimeoutMs = timeoutText === undefined ? undefined : parseDurationMs(timeoutText);
  if (timeoutText !== undefined && !(Number(recoveryTimeoutMs) > 0))
    fail(`--recovery-timeout ${timeoutText}: write a duration such as 60s`);
  return names.map((name) => {
    let policy = /\.ya?ml$/.test(name) ? policyOfFile(name) : chosen('policy', builtInPolicies, [name])[0];
    if (policy === undefined) return fail(`--policy ${name}: not known`);
    if (retries !== undefined) policy = withRetries(policy, retries);
    return recoveryTimeoutMs === undefined ? policy : { ...policy, breaker: { ...policy.breaker, recoveryTimeoutMs } };
  });
};

const main = (): number => {
  const meshes = chosen('fleet', flags.quick ? quickFleets : fleets, flags.fleet).map(sized);
  const policies = readPolicies();
  const seed = wholeNumber('seed', flags.seed) ?? 1;
  const seeds = wholeNumber('seeds', flags.seeds) ?? 1;
  const outcomes: Outcome[] = [];
  const missed: string[] = [];
  for (const scenario of chosen('scenario', scenarios, flags.scenario)) {
    if (!flags.json) process.stdout.write(`\n${scenario.name}: ${scenario.what}\n`);
    for (const fleet of meshes) {
      if (flags.fleet === undefined && fleet.scenario !== undefined && fleet.scenario !== scenario.name) continue;
      if (!flags.json) process.stdout.write(outcomeTitle(fleet));
      for (const policy of policies) {
        const tailMs = targets.recoveryTimeouts * policy.breaker.recoveryTimeoutMs + 15_000;
        const warmMs = Math.max(15_000, 3 * fleet.deadlineMs);
        const runs = Array.from({ length: seeds }, (_, i) => simulate(scenario, fleet, policy, { seed: seed + i, warmMs, tailMs }));
        const outcome = worstOf(runs);
        outcomes.push(outcome);
        const words = [...new Set(runs.flatMap(missedTargets))];
        if (policy.name === 'outrider') missed.push(...words.map((word) => `${scenario.name}, ${fleet.name}: ${word}`));
        if (!flags.json) process.stdout.write(outcomeLine(outcome, words));
      }
    }
  }
  if (flags.json) process.stdout.write(`${JSON.stringify({ seed, seeds, targets, outcomes, missed }, null, 2)}\n`);
  else process.stdout.write(summary(outcomes));
  if (flags.json) return missed.length === 0 ? 0 : 1;
  if (!policies.some(({ name }) => name === 'outrider')) process.stdout.write('\n');
  else process.stdout.write(missed.length === 0 ? "\nOutrider's defaults meet every target\n" : `\nmissed:\n  ${missed.join('\n  ')}\n`);
  return missed.length === 0 ? 0 : 1;
};

process.exitCode = main();
