import type { Outcome } from './simulate.ts';
import type { Fleet } from './world.ts';

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`.padStart(8);
const times = (factor: number): string => factor.toFixed(2).padStart(6);

/** What stands above the lines of one fleet. */
export const outcomeTitle = ({ name, clients, tiers, callsPerSecond }: Fleet): string =>
  `  ${`${name}: ${clients} clients, ${tiers.join(' + ')} servers, ${callsPerSecond} calls/s`.padEnd(62)}goodput        attempts per call: hop 1, 2, 3, all   in flight        good again\n` +
  `  ${''.padEnd(52)}  before  during\n`;

/** One policy; what it misses is named behind it. */
export const outcomeLine = ({ policy, goodput, amplification, inFlight, recoveryMs }: Outcome, missed: readonly string[]): string => {
  const hops = amplification.hops.map(times).join('');
  const flight = inFlight.map((calls) => calls.toFixed(calls < 10 ? 1 : 0).padStart(5)).join('');
  const recovered = recoveryMs === null ? 'never' : `${(recoveryMs / 1_000).toFixed(0)} s`;
  const mark = missed.length === 0 ? '' : `  (${missed.join('; ')})`;
  return `    ${policy.padEnd(50)}${percent(goodput.before)}${percent(goodput.during)}     ${hops}${times(amplification.total)}    ${flight}  ${recovered.padStart(8)}${mark}\n`;
};
