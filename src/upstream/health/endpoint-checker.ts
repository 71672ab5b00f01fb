import { Deadline } from '../../core/index.ts';
import type { Connection, Engine } from '../../http2/index.ts';
import {
  type HealthCheckOptions,
  type HealthTransition,
  HostHealth,
  type HttpHealthCheck,
  type TcpHealthCheck,
} from '../../resilience/index.ts';
import type { Endpoint } from '../endpoint.ts';
import { GrpcProbe } from './grpc-probe.ts';
import type { HealthCheckStats } from './health-check-stats.ts';
import type { OnVerdict, Probe, ProbeVerdict } from './probe.ts';

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
  /** A connection on which a check timed out is replaced. Not on loopback, where none goes half-dead, and calls wait for a service that is slow. */
  readonly replacesConnections: boolean;
  /** A connection or a `Watch` that is gone is looked into after up to so long. */
  readonly lookAgainMs: number;
  /** Takes one of the places of checks that go on at once. False: there is none now, and `begin` is called when there is. */
  takePlace(checker: EndpointChecker): boolean;
  /** Gives the place back (`placed`), or the wish for one. */
  leave(checker: EndpointChecker, placed: boolean): void;
  /** How to ask otherwise than by gRPC. */
  createProbe(check: HttpHealthCheck | TcpHealthCheck, endpoint: Endpoint, onVerdict: OnVerdict): Probe;
  /** There is a result. `first`: there was none before. */
  onResult(checker: EndpointChecker, verdict: ProbeVerdict, transition: HealthTransition, first: boolean): void;
}

/** What a `Watch` says for the better counts once in so long: a server that changes its mind all the time stays out. */
const settlingMs = 1_000;

/** Checks one endpoint again and again. Its `Deadline` is its own interval. */
export class EndpointChecker {
  readonly #deadline = new Deadline(this);
  readonly endpoint: Endpoint;
  readonly health: HostHealth;
  /** What the last check has found, for people. */
  why = 'no check has ended yet';
  /** Monotonic; 0: none. */
  checkedAtMs = 0;
  /** Monotonic: since when it is as it is. */
  sinceMs: number;
  readonly #owner: CheckerOwner;
  readonly #probe: Probe;
  /** The same, where it may watch. */
  readonly #watchProbe: GrpcProbe | undefined;
  #placed = false;
  #closed = false;
  /** Something was lost: checks follow each other soon until it is clear what became of it, and then ever later up to the interval. */
  #hurried = false;
  #hurries = 0;
  #hurriedAtMs = Number.NEGATIVE_INFINITY;
  #heldPass: ProbeVerdict | undefined = undefined;
  #said: ProbeVerdict['kind'] = 'unlearned';

  /** @param former what is known already, where somebody else has checked it before. */
  constructor(endpoint: Endpoint, owner: CheckerOwner, former?: EndpointChecker) {
    this.endpoint = endpoint;
    this.#owner = owner;
    this.sinceMs = owner.engine.clock.now();
    const { check, newEndpoints, times } = owner.options;
    this.health = former?.health ?? new HostHealth(newEndpoints === 'after_check');
    if (former !== undefined) {
      this.why = former.why;
      this.checkedAtMs = former.checkedAtMs;
      this.sinceMs = former.sinceMs;
    }
    const onVerdict = (verdict: ProbeVerdict): void => this.#onVerdict(verdict);
    if (check.kind !== 'grpc') {
      this.#probe = owner.createProbe(check, endpoint, onVerdict);
      return;
    }
    this.#watchProbe = new GrpcProbe({
      endpoint,
      check,
      request: {
        service: check.serviceName,
        authority: check.authority === '' ? owner.serviceName : check.authority,
        scheme: owner.scheme,
        metadata: check.metadata,
      },
      timeoutMs: times.timeoutMs,
      onVerdict,
      onWatchGone: (why, after) => this.#onWatchGone(why, after),
    });
    this.#probe = this.#watchProbe;
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
    this.#owner.engine.wheel.cancel(this.#deadline);
    this.#probe.cancel();
    this.#owner.leave(this, this.#placed);
    if (this.endpoint.checker === this) this.endpoint.checker = undefined;
  }

  /** The last result came of a request of ours. */
  asked = false;

  /** A check is under way. */
  get checking(): boolean {
    return this.#placed;
  }

  get watching(): boolean {
    return this.#watchProbe?.watching === true;
  }

  /** How it is asked. */
  get method(): string {
    return this.watching ? 'grpc watch' : this.#owner.options.check.kind;
  }

  /** There is a place for its check. */
  begin(): void {
    if (this.#closed) return;
    this.#placed = true;
    this.#owner.stats.attempt++;
    this.#probe.begin();
  }

  expire(): void {
    this.#owner.engine.tick();
    const held = this.#heldPass;
    if (held !== undefined) {
      this.#heldPass = undefined;
      this.#judge(held);
    } else this.#due();
  }

  /** The connection takes no new streams, and ends with those that it has. */
  onConnectionRetired(connection: Connection): void {
    this.#watchProbe?.onConnectionRetired(connection);
  }

  /** The last connection is gone, and nobody here wanted that. */
  onConnectionLost(): void {
    if (!this.#closed && !this.health.failing) this.#hurry();
  }

  #due(): void {
    const { keepsAlive } = this.#owner;
    // What the server would answer is known: it says so by itself, and its connection shows that it lives.
    if (this.watching && keepsAlive && this.#said === 'passed') {
      this.asked = false;
      this.#judge({ kind: 'passed', why: this.why });
    } else if (this.#owner.takePlace(this)) this.begin();
  }

  #onVerdict(verdict: ProbeVerdict): void {
    if (this.#closed) return;
    const { engine } = this.#owner;
    this.asked = this.#placed;
    if (this.#placed) {
      this.#placed = false;
      this.#owner.leave(this, true);
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
    this.#said = verdict.kind;
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
    // It is there, well or not. Where it is still away it may be back soon: restarts are short.
    const there = verdict.kind === 'passed' || (verdict.kind === 'failed' && verdict.failure === 'active');
    if (there && transition !== 'pending') this.#hurried = false;
    this.#owner.onResult(this, verdict, transition, first);
    if (this.#closed) return;
    // A connection that swallows what is sent must not stand for the endpoint for ever.
    if (this.#owner.replacesConnections && verdict.kind === 'failed' && verdict.failure === 'network_timeout' && health.failing) {
      this.endpoint.replaceConnections('health_check_timeout');
    }
    this.#schedule();
  }

  #schedule(): void {
    const { hadTraffic, keepsAlive, lookAgainMs, options, random } = this.#owner;
    if (this.#hurried) {
      const longestMs = this.health.nextDelayMs(options.times, hadTraffic, random);
      const doublings = Math.max(0, this.#hurries++ - options.times.unhealthyThreshold);
      const soonMs = lookAgainMs * 2 ** doublings * (0.1 + 0.9 * random());
      if (soonMs >= longestMs) this.#hurried = false;
      this.#arm(Math.min(soonMs, longestMs));
      return;
    }
    // Nothing was learned yet, and calls may be waiting for it.
    if (!this.health.checked) {
      this.#arm(Math.min(options.times.intervalMs, lookAgainMs * (1 + 4 * random())));
      return;
    }
    // Nothing to do until the server speaks, or its connection ends.
    if (this.watching && keepsAlive && !(this.health.pending && this.health.failing)) {
      this.#owner.engine.wheel.cancel(this.#deadline);
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
      this.#hurries = 0;
    }
    // The check that is under way tells soon enough.
    if (!this.#placed) this.#schedule();
  }

  #arm(delayMs: number): void {
    const { clock, wheel } = this.#owner.engine;
    wheel.arm(this.#deadline, clock.now() + delayMs);
  }
}
