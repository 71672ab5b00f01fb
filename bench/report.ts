import { arch, cpus, release } from 'node:os';
import type { Sample } from './load.ts';
import { allPolicies, withTelemetry } from './proxies.ts';
import { allPoliciesTarget, directions, type Shape, targets, telemetryTarget } from './shapes.ts';

export interface BenchResult {
  readonly date: string;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly kernel: string; readonly arch: string; readonly node: string };
  readonly versions: Readonly<Record<string, string>>;
  /** Peers that were asked for and are not on this machine, with how to get them. */
  readonly missing: Readonly<Record<string, string>>;
  readonly samples: readonly Sample[];
  /** Resident memory of each proxy after all of its runs. */
  readonly residentBytes: Readonly<Record<string, number>>;
  /** Outrider with a table of so many routes, outbound 8x32. */
  readonly routes: readonly { readonly routes: number; readonly sample: Sample }[];
  /** From the start of the launcher to 200 from /ready. */
  readonly startToReadyMs: readonly number[];
}

export const machine = (): BenchResult['machine'] => ({
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  kernel: release(),
  arch: arch(),
  node: process.version,
});

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
};

const table = (rows: readonly (readonly string[])[]): string => {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows
    .map((row) => row.map((cell, i) => (i < 3 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  '))
    .join('\n');
};

const verdict = (holds: boolean) => (holds ? 'holds' : 'MISSED');
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;

/** Median of the rounds per proxy, and Outrider's part of the others' CPU. */
const shapeRows = (result: BenchResult, shapes: readonly Shape[]): string[][] => {
  const rows = [['direction', 'shape', 'proxy', 'CPU us/call', 'MB/CPU s', 'p50 us', 'p99 us', 'calls/s', 'outrider/this', 'to reach']];
  for (const direction of directions) {
    for (const shape of shapes) {
      const samplesOf = (proxy: string) =>
        result.samples.filter((s) => s.proxy === proxy && s.direction === direction && s.shape === shape.name);
      const middle = (proxy: string, value: (sample: Sample) => number) => median(samplesOf(proxy).map(value));
      for (const proxy of new Set(result.samples.map((sample) => sample.proxy))) {
        if (samplesOf(proxy).length === 0) continue;
        const cpu = middle(proxy, (s) => s.cpuMicrosecondsPerCall);
        const ratio = middle('outrider', (s) => s.cpuMicrosecondsPerCall) / cpu;
        const target = targets[shape.name]?.[proxy];
        rows.push([
          direction,
          shape.name,
          proxy,
          cpu.toFixed(1),
          shape.messageBytes < 1000 ? '' : ((shape.messageBytes + 5) / cpu).toFixed(0),
          middle(proxy, (s) => s.p50Microseconds).toFixed(0),
          middle(proxy, (s) => s.p99Microseconds).toFixed(0),
          middle(proxy, (s) => s.callsPerSecond).toFixed(0),
          proxy === 'outrider' || Number.isNaN(ratio) ? '' : ratio.toFixed(2),
          target === undefined || Number.isNaN(ratio) ? '' : `<= ${target} ${verdict(ratio <= target)}`,
        ]);
      }
    }
  }
  return rows;
};

interface Addition {
  readonly proxy: string;
  readonly what: string;
  readonly beside: string;
  readonly target: number;
}

const additions: readonly Addition[] = [
  { proxy: allPolicies, what: 'every policy', beside: 'the usual ones', target: allPoliciesTarget },
  { proxy: withTelemetry, what: 'telemetry', beside: 'none', target: telemetryTarget },
];

/** What is added costs, beside Outrider without it in the same rounds: the median of the rounds' ratios. */
const additionLines = ({ samples }: BenchResult, shapes: readonly Shape[], { beside, proxy, target, what }: Addition): readonly string[] =>
  directions.flatMap((direction) =>
    shapes.flatMap((shape) => {
      const of = (name: string, round: number) =>
        samples.find((s) => s.proxy === name && s.direction === direction && s.shape === shape.name && s.round === round);
      const ratios = [...new Set(samples.map(({ round }) => round))].flatMap((round) => {
        const [usual, all] = [of('outrider', round), of(proxy, round)];
        return usual === undefined || all === undefined ? [] : [all.cpuMicrosecondsPerCall / usual.cpuMicrosecondsPerCall];
      });
      if (ratios.length === 0) return [];
      const ratio = median(ratios);
      const range = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)} in ${ratios.length} rounds`;
      const judged = `<= ${target} ${verdict(ratio <= target)}`;
      return [`${what}: ${direction} ${shape.name} ${ratio.toFixed(2)} x ${beside} (${range}; ${judged})`];
    }),
  );

/** The result as a person reads it. */
export const reportText = (result: BenchResult, shapes: readonly Shape[]): string => {
  const lines = [`${result.machine.cpu}, ${result.machine.cores} cores, Linux ${result.machine.kernel}, Node ${result.machine.node}`];
  for (const [name, version] of Object.entries(result.versions)) lines.push(`${name}: ${version}`);
  for (const [name, why] of Object.entries(result.missing)) lines.push(`${name}: NOT MEASURED: ${why}`);
  if (result.samples.length > 0) lines.push('', table(shapeRows(result, shapes)));
  lines.push('', ...additions.flatMap((addition) => additionLines(result, shapes, addition)));
  for (const [name, bytes] of Object.entries(result.residentBytes)) {
    lines.push(`memory after the run: ${name} ${megabytes(bytes)}${name === 'outrider' ? ` (<= 75 MB ${verdict(bytes <= 75e6)})` : ''}`);
  }
  const cpuOf = (routes: number) => median(result.routes.filter((r) => r.routes === routes).map((r) => r.sample.cpuMicrosecondsPerCall));
  const counts = [...new Set(result.routes.map((r) => r.routes))].sort((a, b) => a - b);
  const [few, many] = [counts[0], counts.at(-1)];
  if (few !== undefined && many !== undefined) {
    const ratio = cpuOf(many) / cpuOf(few);
    const figures = `${few}: ${cpuOf(few).toFixed(2)} us/call, ${many}: ${cpuOf(many).toFixed(2)} us/call`;
    lines.push(`routes: ${figures}, ratio ${ratio.toFixed(2)} (0.9 to 1.1 ${verdict(Math.abs(ratio - 1) <= 0.1)})`);
  }
  if (result.startToReadyMs.length > 0) {
    const startMs = median(result.startToReadyMs);
    lines.push(
      `start to /ready: ${startMs.toFixed(0)} ms, median of ${result.startToReadyMs.length} (<= 500 ms ${verdict(startMs <= 500)})`,
    );
  }
  return lines.join('\n');
};
