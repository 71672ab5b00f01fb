import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { VirtualClock } from '../../src/core/index.ts';
import type { Caller } from '../mesh/caller.ts';
import { echoPolicies, MeshCertificates, pass, startSidecar, type TestSidecar, virtualClock } from '../mesh/mesh.ts';
import { until } from '../mesh/upstream.ts';
import { engineServer } from '../peers/engine-server.ts';
import { type Attack, Attacker, answerText, isAnswer, seenText, type Target, type Variant } from './catalogue/index.ts';
import { serveMethod } from './catalogue/service.ts';

export type Wire = 'plain' | 'tls';

const stepMs = 20;

/** In small steps: a clock that jumps looks like an event loop that was stalled, and calls are refused for it. */
const passInSteps = async (clock: VirtualClock, ms: number): Promise<void> => {
  for (let left = ms; left > 0; left -= stepMs) await pass(clock, Math.min(left, stepMs));
};

/** A well-behaved client that makes one call after another. */
class Neighbour {
  readonly #caller: Caller;
  readonly #authority: string;
  readonly failures: string[] = [];
  calls = 0;
  #stopped = true;
  #running: Promise<void> = Promise.resolve();

  constructor(caller: Caller, authority: string) {
    this.#caller = caller;
    this.#authority = authority;
  }

  start(): void {
    this.#stopped = false;
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /** A call that has not begun yet is answered. */
  async oneMoreCall(): Promise<void> {
    const before = this.calls;
    await until(() => this.calls > before + 1 || this.failures.length > 0, 'a call of the neighbour beside the attack');
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const { status, message, reason } = await this.#caller.call({ authority: this.#authority });
      this.calls++;
      if (status === 0) continue;
      this.failures.push(`${status} ${reason} ${message}`);
      return;
    }
  }
}

/** A sidecar, the service behind it, a neighbour, and room for attackers. Time is the test's. */
class Arena {
  readonly #outrider: TestSidecar;
  readonly #clock: VirtualClock;
  readonly #target: Target;
  readonly #neighbour: Neighbour;
  readonly #listener: 'inbound' | 'outbound';

  constructor(outrider: TestSidecar, clock: VirtualClock, target: Target, neighbour: Neighbour) {
    this.#outrider = outrider;
    this.#clock = clock;
    this.#target = target;
    this.#neighbour = neighbour;
    this.#listener = target.tls === undefined ? 'outbound' : 'inbound';
  }

  /** Carries out one attack, and checks what every one of them must leave: the answer, the counter, the neighbour, nothing held. */
  async try(variant: Variant): Promise<void> {
    const attacker = new Attacker(this.#target, {
      pass: async (ms) => {
        await passInSteps(this.#clock, ms);
        // Whatever the attacker waits for, its neighbour is served meanwhile.
        await this.#neighbour.oneMoreCall();
      },
      holdMs: 3_000,
      connections: 60,
      volume: 1,
    });
    const before = new Map(variant.counters.map((name) => [name, this.#stat(name)]));
    this.#neighbour.start();
    try {
      const seen = await variant.send(attacker);
      const answered = variant.answers.some((answer) => isAnswer(answer, seen));
      assert.ok(answered, `expected ${answerText(variant.answers)}, saw ${seenText(seen)}`);
    } finally {
      await attacker.close();
      await this.#neighbour.oneMoreCall();
      await this.#neighbour.stop();
    }
    assert.deepEqual(this.#neighbour.failures, [], 'calls of the neighbour that failed');
    if (before.size > 0) {
      const risen = [...before].filter(([name, count]) => this.#stat(name) > count);
      assert.ok(risen.length > 0, `none of ${[...before.keys()].join(', ')} has risen`);
    }
    await this.#idle();
  }

  /** 0 where there is no such stat: then it can never rise. */
  #stat(name: string): number {
    const full = `listener.${this.#listener}.${name}`;
    try {
      return this.#outrider.stat(full);
    } catch {
      return 0;
    }
  }

  /** No stream and no byte is left of the attack, and no connection but the neighbour's. */
  async #idle(): Promise<void> {
    const zero = ['server.buffered_bytes', 'server.replay_bytes', `listener.${this.#listener}.http2.streams_active`];
    const left = (): readonly string[] => [
      ...zero.filter((name) => this.#outrider.stat(name) !== 0).map((name) => `${name} ${this.#outrider.stat(name)}`),
      ...(this.#stat('downstream_cx_active') <= 1 ? [] : [`${this.#stat('downstream_cx_active')} connections`]),
    ];
    await until(() => left().length === 0, 'nothing left of the attack').catch(() => assert.deepEqual(left(), []));
  }
}

/** The outbound listener in plain text, or the inbound one behind mutual TLS. */
const startArena = async (t: TestContext, wire: Wire): Promise<Arena> => {
  const certificates = await MeshCertificates.create(t);
  // It hears of every stream that an attacker opens or resets, as grpc-go does, which limits neither.
  const service = await engineServer(t, serveMethod, { resetBurst: 1e9, resetsPerSecond: 1e9, maxConcurrentStreams: 100_000 });
  const clock = virtualClock();
  const outrider = await startSidecar(t, {
    name: 'echo',
    clock,
    certificates: await certificates.issue('echo'),
    localService: service.port,
    // Who shares a cluster with an attacker is to be served or not by what the listener does, and not by a threshold.
    policies: echoPolicies({
      endpoints: [`127.0.0.1:${service.port}`],
      cluster: 'circuit_breakers: { thresholds: [{ max_requests: 100000, max_pending_requests: 100000 }] }',
    }),
  });
  if (wire === 'plain') {
    const target: Target = { port: outrider.outboundPort, tls: undefined, authority: 'echo', resetBurst: 2_000 };
    return new Arena(outrider, clock, target, new Neighbour(outrider.caller(), 'echo'));
  }
  const { certPem: cert, keyPem: key } = await certificates.pair('attacker');
  const pem = { ca: certificates.authority.certPem, cert, key, servername: 'echo' };
  const target: Target = { port: outrider.inboundPort, tls: pem, authority: 'echo', resetBurst: 200 };
  return new Arena(outrider, clock, target, new Neighbour(outrider.inboundCaller(pem), 'echo'));
};

const isFor = (variant: Variant, wire: Wire): boolean => variant.only === undefined || variant.only === wire;

/** All attacks of a family on one listener, one after another. */
export const tryAttacks = async (t: TestContext, attacks: readonly Attack[], wire: Wire): Promise<void> => {
  const arena = await startArena(t, wire);
  for (const attack of attacks) {
    for (const variant of attack.variants) {
      if (!isFor(variant, wire)) continue;
      await t.test(`${attack.name}: ${variant.name}`, () => arena.try(variant));
    }
  }
};
