import type { Outcome } from './simulate.ts';
import type { Fleet } from './world.ts';

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`.padStart(8);
const times = (factor: number): string => factor.toFixed(2).padStart(6);

/** What stands above the lines of one fleet. */
export const outcomeTitle = ({ name, clients, tiers, callsPerSecond }: Fleet): string =>
  `  ${`${name}: ${clients} clients, ${tiers.join(' + ')} servers, ${callsPerSecond} calls/s`.padEnd(62)}goodput        attempts per call: hop 1, 2, 3, all   in flight        good again\n` +
  `  ${''.padEnd(52)}  before  during\n`;

const column = 22;

/** Everything at a glance: for each fleet a row per scenario and a column per policy, with goodput while the cause lasts, attempts per call over all hops, and when it is good again. */
export const summary = (outcomes: readonly Outcome[]): string => {
  const of = <K extends 'scenario' | 'fleet' | 'policy'>(key: K): readonly string[] => [
    ...new Set(outcomes.map((outcome) => outcome[key])),
  ];
  const policies = of('policy');
  let text = '\ngoodput during, attempts per call over all hops, seconds until good again\n';
  for (const fleet of of('fleet')) {
    text += `\n  ${fleet.padEnd(20)}${policies.map((policy) => policy.slice(0, column - 2).padEnd(column)).join('')}\n`;
    for (const scenario of of('scenario')) {
      const row = policies.map((policy) => outcomes.find((o) => o.fleet === fleet && o.scenario === scenario && o.policy === policy));
      if (row.some((outcome) => outcome !== undefined)) text += `  ${scenario.padEnd(20)}${row.map(cell).join('')}\n`;
    }
  }
  return text;
};

const cell = (outcome: Outcome | undefined): string => {
  if (outcome === undefined) return ''.padEnd(column);
  const { amplification, goodput, recoveryMs } = outcome;
  const back = recoveryMs === null ? 'never' : `${(recoveryMs / 1_000).toFixed(0)} s`;
  return `${(goodput.during * 100).toFixed(0).padStart(3)} %${amplification.total.toFixed(2).padStart(6)}${back.padStart(7)}`.padEnd(
    column,
  );
};

/** One policy; what it misses is named behind it. */
export const outcomeLine = ({ policy, goodput, amplification, inFlight, recoveryMs }: Outcome, missed: readonly string[]): string => {
  const hops = amplification.hops.map(times).join('');
  const flight = inFlight.map((calls) => calls.toFixed(calls < 10 ? 1 : 0).padStart(5)).join('');
  const recovered = recoveryMs === null ? 'never' : `${(recoveryMs / 1_000).toFixed(0)} s`;
  const mark = missed.length === 0 ? '' : `  (${missed.join('; ')})`;
  return `    ${policy.padEnd(50)}${percent(goodput.before)}${percent(goodput.during)}     ${hops}${times(amplification.total)}    ${flight}  ${recovered.padStart(8)}${mark}\n`;
};
