import { Deadline } from '../../core/index.ts';
import type { Connection, Engine } from '../../http2/index.ts';
import { type HealthCheckOptions, type HealthTransition, HostHealth } from '../../resilience/index.ts';
import type { Endpoint } from '../endpoint.ts';
import { GrpcProbe } from './grpc-probe.ts';
import type { HealthCheckStats } from './health-check-stats.ts';
import type { ProbeVerdict } from './probe.ts';

/** Whoever has checkers: a cluster, or the sidecar for the service beside it. */
export interface CheckerOwner {
  readonly engine: Engine;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly options: HealthCheckOptions;
  readonly stats: HealthCheckStats;
  /** Name of the service, for the server's name and the authority of requests. */
  readonly serviceName: string;
  readonly scheme: 'http' | 'https';
  /** Some call has gone to the cluster. */
  readonly hadTraffic: boolean;
  /** Connections of the cluster are asked for signs of life, so that a `Watch` on one that is dead ends. */
  readonly keepsAlive: boolean;
  /** Takes one of the places of checks that go on at once. False: there is none now, and `begin` is called when there is. */
  admit(checker: EndpointChecker): boolean;
  /** Gives the place back, or the wish for one. */
  leave(checker: EndpointChecker): void;
  /** There is a result. `first`: there was none before. */
  onResult(checker: EndpointChecker, verdict: ProbeVerdict, transition: HealthTransition, first: boolean): void;
}

/** A connection or a `Watch` that is gone is looked into after up to so long, so that a fleet does not come back in one moment. */
const lookAgainMs = 1_000;
/** What a `Watch` says for the better counts once in so long: a server that changes its mind all the time stays out. */
const settlingMs = 1_000;

/** Checks one endpoint again and again. As a `Deadline` it is its own interval. */
export class EndpointChecker extends Deadline {
  readonly endpoint: Endpoint;
  readonly health: HostHealth;
  /** What the last check has found, for people. */
  why = 'no check has ended yet';
  /** Monotonic; 0: none. */
  checkedAtMs = 0;
  /** Monotonic: since when it is as it is. */
  sinceMs: number;
  readonly #owner: CheckerOwner;
  readonly #probe: GrpcProbe;
  #placed = false;
  #closed = false;
  /** Something was lost: checks follow each other soon until it is clear what became of it. */
  #hurried = false;
  #hurriedAtMs = Number.NEGATIVE_INFINITY;
  #heldPass: ProbeVerdict | undefined = undefined;

  constructor(endpoint: Endpoint, owner: CheckerOwner) {
    super();
    this.endpoint = endpoint;
    this.#owner = owner;
    this.sinceMs = owner.engine.clock.now();
    const { check, newEndpoints, times } = owner.options;
    this.health = new HostHealth(newEndpoints === 'after_check');
    if (check.kind !== 'grpc') throw new Error(`no probe for ${check.kind}`);
    this.#probe = new GrpcProbe({
      endpoint,
      check,
      request: {
        service: check.serviceName,
        authority: check.authority === '' ? owner.serviceName : check.authority,
        scheme: owner.scheme,
        metadata: check.metadata,
      },
      timeoutMs: times.timeoutMs,
      onVerdict: (verdict) => this.#onVerdict(verdict),
      onWatchGone: (why, after) => this.#onWatchGone(why, after),
    });
  }

  /** The first check, after the initial jitter. */
  start(): void {
    this.endpoint.checker = this;
    const { initialJitterMs } = this.#owner.options.times;
    if (initialJitterMs > 0) this.#arm(initialJitterMs * this.#owner.random());
    else this.#due();
  }

  /** Ends it; the endpoint keeps the health that it has. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#owner.engine.wheel.cancel(this);
    this.#probe.cancel();
    this.#owner.leave(this);
    if (this.endpoint.checker === this) this.endpoint.checker = undefined;
  }

  /** How it is asked. */
  get method(): string {
    return this.#probe.watching ? 'grpc watch' : 'grpc';
  }

  /** There is a place for its check. */
  begin(): void {
    if (this.#closed) return;
    this.#placed = true;
    this.#owner.stats.attempt++;
    this.#probe.begin();
  }

  override expire(): void {
    this.#owner.engine.tick();
    const held = this.#heldPass;
    if (held !== undefined) {
      this.#heldPass = undefined;
      this.#judge(held);
    } else this.#due();
  }

  /** The connection takes no new streams, and ends with those that it has. */
  onConnectionRetired(connection: Connection): void {
    this.#probe.onConnectionRetired(connection);
  }

  /** The last connection is gone, and nobody here wanted that. */
  onConnectionLost(): void {
    if (!this.#closed && !this.health.failing) this.#hurry();
  }

  #due(): void {
    const { keepsAlive } = this.#owner;
    // What the server would answer is known: it says so by itself, and its connection shows that it lives.
    if (this.#probe.watching && keepsAlive) this.#judge({ kind: 'passed', why: this.why });
    else if (this.#owner.admit(this)) this.begin();
  }

  #onVerdict(verdict: ProbeVerdict): void {
    if (this.#closed) return;
    const { engine } = this.#owner;
    if (this.#placed) {
      this.#placed = false;
      this.#owner.leave(this);
    } else if (verdict.kind === 'passed' && this.health.failing && engine.nowMs < this.sinceMs + settlingMs) {
      this.#heldPass = verdict;
      this.#arm(this.sinceMs + settlingMs - engine.nowMs);
      return;
    }
    this.#heldPass = undefined;
    this.#judge(verdict);
  }

  #judge(verdict: ProbeVerdict): void {
    const { engine, options, stats } = this.#owner;
    const { health } = this;
    const first = !health.checked;
    let transition: HealthTransition = 'unchanged';
    this.why = verdict.why;
    this.checkedAtMs = engine.nowMs;
    if (verdict.kind === 'passed') {
      stats.success++;
      transition = health.succeed(options.times);
    } else if (verdict.kind === 'failed') {
      stats.failure++;
      if (verdict.failure !== 'active') stats.networkFailure++;
      transition = health.fail(options.times, verdict.failure);
    }
    if (transition === 'changed') this.sinceMs = engine.nowMs;
    if (transition !== 'pending' && verdict.kind !== 'unlearned') this.#hurried = false;
    this.#owner.onResult(this, verdict, transition, first);
    if (this.#closed) return;
    // A connection that swallows what is sent must not stand for the endpoint for ever.
    if (verdict.kind === 'failed' && verdict.failure === 'network_timeout' && health.failing) {
      this.endpoint.replaceConnections('health_check_timeout');
    }
    this.#schedule();
  }

  #schedule(): void {
    const { hadTraffic, keepsAlive, options, random } = this.#owner;
    if (this.#hurried) {
      this.#arm(Math.min(lookAgainMs, options.times.intervalMs) * (0.1 + 0.9 * random()));
      return;
    }
    // Nothing to do until the server speaks, or its connection ends.
    if (this.#probe.watching && keepsAlive && !(this.health.pending && this.health.failing)) {
      this.#owner.engine.wheel.cancel(this);
      return;
    }
    this.#arm(this.health.nextDelayMs(options.times, hadTraffic, random));
  }

  #onWatchGone(why: 'retired' | 'ended', after: string): void {
    if (this.#closed) return;
    this.why = `${this.why}; the Watch is gone since: ${after}`;
    this.#heldPass = undefined;
    if (why === 'ended') this.#owner.stats.passiveFailure++;
    this.#hurry();
  }

  /** Once an interval at most: a server that ends whatever it has begun must not be asked all the time. */
  #hurry(): void {
    const nowMs = this.#owner.engine.clock.now();
    if (nowMs >= this.#hurriedAtMs + this.#owner.options.times.intervalMs) {
      this.#hurriedAtMs = nowMs;
      this.#hurried = true;
    }
    // The check that is under way tells soon enough.
    if (!this.#placed) this.#schedule();
  }

  #arm(delayMs: number): void {
    const { clock, wheel } = this.#owner.engine;
    wheel.arm(this, clock.now() + delayMs);
  }
}
