import { seededRandom } from '../../test/harness/seeded-random.ts';
import { exponential } from './chance.ts';
import { EventQueue } from './event-queue.ts';
import { HopTally } from './hop-tally.ts';
import type { MeshPolicy } from './policies.ts';
import { ok, SimulatedServer } from './server.ts';
import { SimulatedSidecar } from './sidecar.ts';

/** How large the mesh is, and how much it has to do. */
export interface Fleet {
  readonly name: string;
  /** The only scenario that it is for, unless it is asked for; all where left out. */
  readonly scenario?: string;
  readonly clients: number;
  /** Instances of each of the three services; each calls the next. */
  readonly tiers: readonly [number, number, number];
  readonly callsPerSecond: number;
  /** Wanted service times of the three; the number of slots follows from them and from `utilisation`. */
  readonly serviceMs: readonly [number, number, number];
  /** Share of the slots that is busy in good times. */
  readonly utilisation: number;
  /** Whether the utilisation has to be met; else the service times are. */
  readonly busy: boolean;
  /** What clients give a call. */
  readonly deadlineMs: number;
}

/** Calls of one second, by the second in which they began. */
export interface Second {
  offered: number;
  good: number;
}

const queuePerSlot = 100;

/** A mesh of three tiers whose clients call at random times, whatever becomes of their calls. */
export class World {
  readonly events = new EventQueue();
  readonly random: () => number;
  readonly fleet: Fleet;
  readonly policy: MeshPolicy;
  readonly servers: readonly (readonly SimulatedServer[])[];
  /** By hop: the clients', the first tier's, the second tier's. */
  readonly sidecars: readonly (readonly SimulatedSidecar[])[];
  readonly tallies: readonly HopTally[] = [new HopTally(), new HopTally(), new HopTally()];
  readonly seconds: Second[] = [];
  /** Of `callsPerSecond`; changed by the scenario. */
  load = 1;
  #calls = 0;

  constructor(fleet: Fleet, policy: MeshPolicy, seed: number) {
    this.fleet = fleet;
    this.policy = policy;
    this.random = seededRandom(seed);
    this.servers = fleet.tiers.map((count, tier) => {
      const work = (fleet.callsPerSecond * (fleet.serviceMs[tier] as number)) / 1_000 / count;
      const slots = Math.max(2, Math.ceil(work / fleet.utilisation));
      // Slots are whole: the service time takes what is left, so that the utilisation is right.
      const meanServiceMs = fleet.busy
        ? (slots * fleet.utilisation * count * 1_000) / fleet.callsPerSecond
        : (fleet.serviceMs[tier] as number);
      const options = { slots, meanServiceMs, queueLimit: queuePerSlot * slots };
      return Array.from({ length: count }, (_, i) => new SimulatedServer(`t${tier}-${i}:1`, options, this.events, this.random));
    });
    const [first, second, third] = this.servers as [SimulatedServer[], SimulatedServer[], SimulatedServer[]];
    this.sidecars = [
      Array.from({ length: fleet.clients }, () => this.#createSidecar(0, first)),
      first.map((server) => (server.outbound = this.#createSidecar(1, second))),
      second.map((server) => (server.outbound = this.#createSidecar(2, third))),
    ];
    this.#arriveLater();
  }

  /** The tier in which things go wrong. */
  get bottom(): readonly SimulatedServer[] {
    return this.servers[2] as readonly SimulatedServer[];
  }

  /** The sidecars that call the bottom. */
  get bottomCallers(): readonly SimulatedSidecar[] {
    return this.sidecars[2] as readonly SimulatedSidecar[];
  }

  /** Calls in flight in a sidecar of each hop, on average. */
  get inFlight(): readonly number[] {
    return this.sidecars.map((hop) => hop.reduce((sum, { budget }) => sum + budget.active, 0) / hop.length);
  }

  #createSidecar(hop: number, servers: readonly SimulatedServer[]): SimulatedSidecar {
    return new SimulatedSidecar(this.policy, servers, this.events, this.random, this.tallies[hop] as HopTally);
  }

  #arriveLater(): void {
    const { callsPerSecond } = this.fleet;
    this.events.after(exponential(this.random, 1_000 / (callsPerSecond * this.load)), () => {
      this.#arriveLater();
      this.#call();
    });
  }

  #call(): void {
    const [clients] = this.sidecars as [readonly SimulatedSidecar[]];
    const client = clients[Math.floor(this.random() * clients.length)] as SimulatedSidecar;
    const { nowMs } = this.events;
    const second = Math.floor(nowMs / 1_000);
    for (let missing = this.seconds.length; missing <= second; missing++) this.seconds.push({ offered: 0, good: 0 });
    const began = this.seconds[second] as Second;
    began.offered++;
    client.call(String(this.#calls++), nowMs + this.fleet.deadlineMs, (status) => {
      if (status === ok) began.good++;
    });
  }
}
