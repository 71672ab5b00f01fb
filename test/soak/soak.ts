/**
 *     npm run soak -- --for 5m [--rate 150] [--json]
 *
 * A mesh of processes under mixed load, with services that die, policies and certificates that change, callers that are rude. Exit
 * code 0 where no call failed that should not have, nothing is left over and memory is flat; 1 otherwise, 2 for wrong usage.
 */
import { parseArgs } from 'node:util';
import { findForeignCaller } from './foreign-caller.ts';
import { runSoak, type SoakReport } from './run-soak.ts';

const usage = 'npm run soak -- [--for 30s|5m] [--rate <calls a second>] [--json]';

const parseDurationMs = (text: string): number => {
  const [, amount, unit] = /^(\d+)(s|m|h)$/.exec(text) ?? [];
  if (amount === undefined || Number(amount) === 0) throw new Error(`--for ${text}: expected a duration such as 30s or 5m`);
  return Number(amount) * { s: 1_000, m: 60_000, h: 3_600_000 }[unit as 's' | 'm' | 'h'];
};

const readArguments = (): { readonly durationMs: number; readonly callsPerSecond: number; readonly json: boolean } => {
  const { values } = parseArgs({
    options: {
      for: { type: 'string', default: '5m' },
      rate: { type: 'string', default: '150' },
      json: { type: 'boolean', default: false },
    },
  });
  const callsPerSecond = Number(values.rate);
  if (!(callsPerSecond > 0 && callsPerSecond <= 5_000)) throw new Error(`--rate ${values.rate}: expected calls a second, up to 5000`);
  return { durationMs: parseDurationMs(values.for), callsPerSecond, json: values.json };
};

const mib = (bytes: number): string => (bytes / 1024 / 1024).toFixed(1);

const table = (head: readonly string[], rows: readonly (readonly (string | number)[])[]): string => {
  const all = [head, ...rows].map((row) => row.map(String));
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
};

const inWords = (counts: ReadonlyMap<string, number> | Readonly<Record<string, number>>): string =>
  [...(counts instanceof Map ? counts : Object.entries(counts))].map(([name, count]) => `${name} ${count}`).join(', ');

const printReport = (report: SoakReport): void => {
  const { kinds, fates, memory, examples, problems } = report;
  const rows = [...kinds].map(([name, { begun, unexpected, outcomes }]) => [name, begun, unexpected, inWords(outcomes)]);
  console.log(`\n${table(['CALLS AND CHANGES', 'BEGUN', 'UNEXPECTED', 'ENDED WITH'], rows)}`);
  const sums = fates.map(({ sidecar, direction, requests, sum, fates: each }) => [sidecar, direction, requests, sum, inWords(each)]);
  console.log(`\n${table(['SIDECAR', 'DIRECTION', 'CALLS', 'FATES', 'WHICH'], sums)}`);
  console.log(
    `the clients made ${report.reached} calls that the caller's sidecar has certainly seen, and ${report.unsure} that ended before that was certain`,
  );
  const sizes = [...memory].map(([name, { flat, tooShort, meanBytes, slopeBytesPerMinute, errorBytesPerMinute, growthBytes }]) =>
    tooShort
      ? [name, mib(meanBytes), '-', '-', 'too short to say']
      : [name, mib(meanBytes), `${mib(slopeBytesPerMinute)} ± ${mib(errorBytesPerMinute)}`, mib(growthBytes), flat ? 'flat' : 'RISES'],
  );
  console.log(`\n${table(['MEMORY', 'MEAN MIB', 'MIB A MINUTE', 'GROWTH MIB', ''], sizes)}`);
  console.log(`\n${report.gauges} gauges compared with before the load, ${report.leaks.length} different`);
  if (Object.keys(report.limitsMet).length > 0) console.log(`limits met: ${inWords(report.limitsMet)}`);
  if (report.shed > 0) {
    const waited = Math.round(report.longestWaitMs);
    console.log(`shed: ${report.shed} calls, while others on this machine kept a sidecar from its core for up to ${waited} ms in a second`);
  }
  for (const example of examples) console.log(`unexpected: ${example}`);
  for (const problem of problems) console.log(`problem: ${problem}`);
  console.log(problems.length === 0 ? `passed: ${Math.round(report.seconds)} s` : `failed: ${problems.length} problems`);
};

const main = async (): Promise<number> => {
  let given: ReturnType<typeof readArguments>;
  try {
    given = readArguments();
  } catch (error) {
    console.error(`${(error as Error).message}\n${usage}`);
    return 2;
  }
  const { durationMs, callsPerSecond, json } = given;
  const progress = (line: string): void => console.error(line);
  const foreign = await findForeignCaller();
  if (foreign === undefined) progress('no Python with grpcio here: only clients of Node call');
  const report = await runSoak({
    durationMs,
    callsPerSecond,
    changes: { policiesMs: 3_000, certificatesMs: 20_000, restartMs: 15_000 },
    wirePauseMs: 500,
    foreign,
    quietMs: 30_000,
    progress,
  });
  if (json) {
    const kinds = Object.fromEntries(
      [...report.kinds].map(([name, { outcomes, ...counts }]) => [name, { ...counts, outcomes: Object.fromEntries(outcomes) }]),
    );
    console.log(
      JSON.stringify({ passed: report.problems.length === 0, ...report, kinds, memory: Object.fromEntries(report.memory) }, null, 2),
    );
  } else printReport(report);
  return report.problems.length === 0 ? 0 : 1;
};

process.exitCode = await main();
