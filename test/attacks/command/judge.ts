import type { Attack } from '../catalogue/index.ts';
import type { Report } from './attacker-process.ts';
import type { Quality } from './measure.ts';

/** Everything measured of one attack on one listener. */
export interface Row {
  readonly attack: string;
  readonly wire: 'plain' | 'tls';
  readonly proxy: string;
  readonly parallel: number;
  readonly connections: number;
  readonly kilobytes: number;
  readonly seen: Report['seen'];
  /** Counters that rose, and by how much. */
  readonly counters: readonly (readonly [name: string, rise: number])[];
  readonly memory: { readonly before: number; readonly peak: number; readonly after: number };
  readonly cpu: { readonly microsecondsPerKilobyte: number; readonly ratio: number | undefined };
  readonly idle: Quality;
  readonly under: Quality;
  readonly attackerCpuShare: number;
  /** How long others kept the proxy from its core while it was attacked, in milliseconds per second. */
  readonly waitedMsPerSecond: number;
  readonly alive: boolean;
  readonly left: readonly string[];
  readonly complaints: readonly string[];
}

const mebibyte = 1024 * 1024;
const mostAboveIdleBytes = 128 * mebibyte;
const mostCpuRatio = 3;
/** Memory after an attack, to that before it. */
export const mostGrowth = 1.1;
/** CPU below this, over an attack's whole time, is lost in the ticks of the clock that counts it. */
export const fewestCpuMicroseconds = 50_000;

/** The rule of the table: what of it does not hold. Only the latency may be the machine's fault, so that it is told apart. */
export const judge = (
  attack: Attack,
  row: Omit<Row, 'complaints'>,
  rule: { readonly mostAboveIdleBytes?: number } = {},
): readonly string[] => {
  const complaints: string[] = [];
  if (!row.alive) return ['the process is gone'];
  for (const { variant, text, ok } of row.seen) if (!ok) complaints.push(`answer to "${variant.slice(0, 60)}": ${text}`);
  const counted = attack.variants.some(({ counters }) => counters.length > 0);
  // Others name theirs otherwise, where they have one; and of a thousand connections each may send too little to break a limit.
  const broke = row.parallel === 1 || row.seen.some(({ text }) => text !== 'lives');
  if (counted && broke && row.proxy === 'outrider' && row.counters.length === 0) complaints.push('no counter rose');
  const { before, peak, after } = row.memory;
  const most = rule.mostAboveIdleBytes ?? mostAboveIdleBytes;
  if (peak - before > most) complaints.push(`memory ${Math.round((peak - before) / mebibyte)} MiB above idle, ${most / mebibyte} allowed`);
  if (after > before * mostGrowth) complaints.push(`memory after ${Math.round((after / before - 1) * 100)} % above the start`);
  if (row.cpu.ratio !== undefined && row.cpu.ratio > mostCpuRatio) complaints.push(`CPU ${row.cpu.ratio.toFixed(1)} x a well-behaved one`);
  const { calls, failed, why } = row.under;
  if (calls === 0 || failed / calls > 0.001) complaints.push(`neighbour: ${failed} of ${calls} calls failed (${why})`);
  const limitMs = Math.max(2 * row.idle.p99Ms, row.idle.p99Ms + 10);
  // What generator and service add by themselves is not the sidecar's.
  const addedMs = Math.max(0, row.under.directP99Ms - row.idle.directP99Ms);
  if (!(row.under.p99Ms < limitMs + addedMs)) {
    const added = addedMs > 1 ? ` and ${addedMs.toFixed(1)} that calls without the sidecar lose as well` : '';
    const waited =
      row.waitedMsPerSecond > 20 ? `; others kept the sidecar from its core ${row.waitedMsPerSecond.toFixed(0)} ms in each second` : '';
    complaints.push(`neighbour: p99 ${row.under.p99Ms.toFixed(1)} ms, ${limitMs.toFixed(1)} allowed${added}${waited}`);
  }
  if (row.left.length > 0) complaints.push(`left behind: ${row.left.join(', ')}`);
  return complaints;
};

/** One slow moment of the machine makes a p99, and memory that a process needs for the first time stays with it: both may be tried again. */
export const mayTryAgain = (complaints: readonly string[]): boolean =>
  complaints.length > 0 && complaints.every((complaint) => /^(neighbour: p99|memory after)/.test(complaint));

const mib = (bytes: number): string => (bytes / mebibyte).toFixed(0);

const columns = [
  'attack',
  'wire',
  'conns',
  'KB',
  'answer',
  'counter',
  'MiB before/peak/after',
  'us/KB (x)',
  'ok',
  'p99 ms idle/under (direct)',
  'verdict',
];
const widths = [44, 5, 5, 8, 58, 44, 21, 12, 9, 26, 0];

const line = (cells: readonly string[]): string =>
  cells
    .map((cell, i) =>
      widths[i] === 0
        ? cell
        : cell.length > (widths[i] as number)
          ? `${cell.slice(0, (widths[i] as number) - 1)}~`
          : cell.padEnd(widths[i] as number),
    )
    .join(' | ');

export const headText = (): string => line(columns);

export const rowText = (row: Row): string => {
  const { memory, cpu, idle, under } = row;
  // One that was wrong is what one wants to see.
  const seen = row.seen.find(({ ok }) => !ok) ?? row.seen[0];
  return line([
    `${row.attack}${row.parallel > 1 ? ` x${row.parallel}` : ''}${row.proxy === 'outrider' ? '' : ` (${row.proxy})`}`,
    row.wire,
    String(row.connections),
    row.kilobytes.toFixed(0),
    `${seen?.text ?? '-'}${row.seen.length > 1 ? ` (+${row.seen.length - 1} variants)` : ''}`,
    row.counters.map(([name, rise]) => `${name} +${rise}`).join(', ') || '-',
    `${mib(memory.before)}/${mib(memory.peak)}/${mib(memory.after)}`,
    `${cpu.microsecondsPerKilobyte.toFixed(0)}${cpu.ratio === undefined ? '' : ` (${cpu.ratio.toFixed(2)})`}`,
    `${under.calls - under.failed}/${under.calls}`,
    `${idle.p99Ms.toFixed(1)}/${under.p99Ms.toFixed(1)} (${idle.directP99Ms.toFixed(1)}/${under.directP99Ms.toFixed(1)})`,
    row.complaints.length === 0 ? 'holds' : `FAILS: ${row.complaints.join('; ')}`,
  ]);
};
