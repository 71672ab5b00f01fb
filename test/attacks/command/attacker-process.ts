/**
 * Carries out one attack again and again for a while, and prints what it saw as JSON. It rests after each run for longer than the run took of
 * CPU, so that the core which it shares with the neighbour and the service is never busy because of it.
 */

import { absorbed, isAnswer } from '../catalogue/attack.ts';
import { Attacker, type AttackerOptions, attacks, type Seen, seenText, type Target, type Variant } from '../catalogue/index.ts';
import { blockFor, headersFrame, streams, whole } from '../catalogue/requests.ts';

/** What the attacker is told. */
export interface Order {
  /** `baseline` is the well-behaved connection of the comparison. */
  readonly attack: string;
  readonly target: Target;
  readonly phaseMs: number;
  readonly connections: number;
  /** Runs at once: more than 1 for attacks with many connections. */
  readonly parallel: number;
  readonly volume: number;
  readonly baseline?: { readonly connections: number; readonly calls: number; readonly method: 'Call' | 'Large' };
}

/** What it saw. */
export interface Report {
  readonly runs: number;
  readonly connections: number;
  readonly bytes: number;
  readonly seen: readonly { readonly variant: string; readonly text: string; readonly ok: boolean }[];
  /** Its own share of a core. */
  readonly cpuShare: number;
}

const order = JSON.parse(process.argv[2] as string) as Order;
const startedAt = performance.now();
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const overAt = startedAt + order.phaseMs;
const restFactor = 2;
const shortestRestMs = 40;
const longPhaseMs = 10_000;

const options: AttackerOptions = {
  pass: sleep,
  /** Until shortly before the end, whenever it began. */
  get holdMs() {
    return Math.max(0, overAt - performance.now() - 500);
  },
  connections: order.connections,
  volume: order.volume,
};
let connections = 0;
let bytes = 0;
let runs = 0;
const seen = new Map<string, { variant: string; text: string; ok: boolean }>();

const note = (variant: Variant, one: Seen | Error): void => {
  // Of a thousand connections each sends little: some will have broken no limit yet, and live.
  const answers = order.parallel > 1 ? [...variant.answers, absorbed] : variant.answers;
  const ok = !(one instanceof Error) && answers.some((answer) => isAnswer(answer, one));
  const before = seen.get(variant.name);
  // The first that is wrong is what one wants to know.
  if (before !== undefined && (!before.ok || ok)) return;
  seen.set(variant.name, { variant: variant.name, text: one instanceof Error ? one.message : seenText(one), ok });
};

const once = async (variant: Variant): Promise<void> => {
  const attacker = new Attacker(order.target, options);
  try {
    note(variant, await variant.send(attacker));
  } catch (error) {
    note(variant, error as Error);
  }
  await attacker.close();
  runs++;
  connections += attacker.connections;
  bytes += attacker.bytesSent;
};

const rest = async (cpu: NodeJS.CpuUsage): Promise<void> => {
  const { user, system } = process.cpuUsage(cpu);
  await sleep(Math.max(shortestRestMs, ((user + system) / 1_000) * restFactor));
};

const attackOneByOne = async (variants: readonly Variant[]): Promise<void> => {
  // Those that only wait do so side by side.
  if (order.phaseMs >= longPhaseMs) {
    await Promise.all(variants.map(once));
    return;
  }
  for (let i = 0; i < variants.length || performance.now() < overAt; i++) {
    const cpu = process.cpuUsage();
    await once(variants[i % variants.length] as Variant);
    await rest(cpu);
  }
};

/** Many connections at once, begun one after another within the first half of the time. */
const attackAtOnce = async (variant: Variant): Promise<void> => {
  const running: Promise<void>[] = [];
  for (let i = 0; i < order.parallel && performance.now() < overAt; i++) {
    const cpu = process.cpuUsage();
    running.push(once(variant));
    await new Promise((resolve) => setImmediate(resolve));
    const { user, system } = process.cpuUsage(cpu);
    await sleep(Math.max(1, ((user + system) / 1_000) * restFactor));
  }
  await Promise.all(running);
};

/** Connections that make ordinary calls, eight at a time, and read what comes. */
const behave = async ({ connections: count, calls, method }: NonNullable<Order['baseline']>): Promise<void> => {
  for (let one = 0; one < count; one++) {
    const cpu = process.cpuUsage();
    const attacker = new Attacker(order.target, options);
    const peer = await attacker.open();
    peer.credits = true;
    const block = blockFor(attacker, method);
    for (let sent = 0; sent < calls; sent += 8) {
      const batch = Math.min(8, calls - sent);
      for (let i = 0; i < batch; i++) peer.calls.add(1 + 2 * (sent + i));
      await peer.flood(streams(batch, (id) => [headersFrame(id, block, whole)], 1 + 2 * sent));
      await peer.answered();
      peer.calls.clear();
      peer.replies.clear();
    }
    bytes += attacker.bytesSent;
    connections++;
    runs++;
    await attacker.close();
    await rest(cpu);
  }
};

if (order.baseline !== undefined) await behave(order.baseline);
else {
  const attack = attacks.find(({ name }) => name === order.attack);
  if (attack === undefined) throw new Error(`no attack ${order.attack}`);
  const wire = order.target.tls === undefined ? 'plain' : 'tls';
  const variants = attack.variants.filter(({ only }) => only === undefined || only === wire);
  if (order.parallel > 1) await attackAtOnce(variants[0] as Variant);
  else await attackOneByOne(variants);
}
const { user, system } = process.cpuUsage();
const cpuShare = (user + system) / 1_000 / (performance.now() - startedAt);
process.stdout.write(`${JSON.stringify({ runs, connections, bytes, seen: [...seen.values()], cpuShare } satisfies Report)}\n`);
process.exit(0);
