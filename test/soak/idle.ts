import { setTimeout as sleep } from 'node:timers/promises';
import type { SidecarProcess } from '../peers/sidecar-processes.ts';

export type Stats = ReadonlyMap<string, number>;

/** What must be back at the value that it had before the load. */
const idleGauges: readonly RegExp[] = [
  /^listener\.\w+\.downstream_(cx|rq)_active$/,
  /^listener\.\w+\.http2\.streams_active$/,
  /^cluster\..*\.upstream_(cx_active|rq_active|rq_pending_active)$/,
  /^cluster\..*\.http2\.streams_active$/,
  /^cluster\..*\.circuit_breakers\.default\.(\w+_open|remaining_\w+)$/,
  /^cluster\..*\.circuit_breaker\.(state|consecutive_failures)$/,
  /^server\.(buffered_bytes|replay_bytes|deadlines_armed|header_blocks_out|slabs_out|open_fds)$/,
];

const sumOf = (stats: Stats, pattern: RegExp): number => {
  let sum = 0;
  for (const [name, value] of stats) if (pattern.test(name)) sum += value;
  return sum;
};

/** The gauges of one sidecar, and what they must add up to with nothing under way. */
export const idleReading = (stats: Stats): Map<string, number> => {
  const reading = new Map<string, number>();
  for (const [name, value] of stats) if (idleGauges.some((gauge) => gauge.test(name))) reading.set(name, value);
  // One block for each connection that there is: nobody else has one now.
  const connections = sumOf(stats, /\.(up|down)stream_cx_active$/);
  reading.set('(header blocks without a connection)', (stats.get('server.header_blocks_out') ?? 0) - connections);
  return reading;
};

export interface GaugeDifference {
  readonly sidecar: string;
  readonly gauge: string;
  readonly before: number | undefined;
  readonly after: number | undefined;
}

const differences = (sidecar: string, before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): GaugeDifference[] =>
  [...new Set([...before.keys(), ...after.keys()])].flatMap((gauge) =>
    before.get(gauge) === after.get(gauge) ? [] : [{ sidecar, gauge, before: before.get(gauge), after: after.get(gauge) }],
  );

type Readings = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Readings of all sidecars that have not changed for a second: connections that were closed a moment ago are gone. */
export const settledReadings = async (sidecars: readonly (readonly [string, SidecarProcess])[], patienceMs: number): Promise<Readings> => {
  const deadline = performance.now() + patienceMs;
  let last = await readAll(sidecars);
  for (;;) {
    await sleep(1_000);
    const next = await readAll(sidecars);
    if (compare(last, next).length === 0 || performance.now() > deadline) return next;
    last = next;
  }
};

const readAll = async (sidecars: readonly (readonly [string, SidecarProcess])[]): Promise<Readings> => {
  const readings = new Map<string, ReadonlyMap<string, number>>();
  for (const [name, sidecar] of sidecars) readings.set(name, idleReading(await sidecar.stats()));
  return readings;
};

const compare = (before: Readings, after: Readings): GaugeDifference[] =>
  [...before].flatMap(([name, reading]) => differences(name, reading, after.get(name) ?? new Map()));

/** What is not as it was at `before`, once it is as it was or `patienceMs` have passed. */
export const leftOver = async (
  before: Readings,
  sidecars: readonly (readonly [string, SidecarProcess])[],
  patienceMs: number,
): Promise<{ readonly differences: readonly GaugeDifference[]; readonly after: Readings }> => {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const after = await readAll(sidecars);
    const found = compare(before, after);
    if (found.length === 0 || performance.now() > deadline) return { differences: found, after };
    await sleep(250);
  }
};
