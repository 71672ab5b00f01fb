import { ConfigurationError, parseDurationMs, suggest } from '../core/index.ts';
import type { DemoMesh } from './mesh.ts';
import { demoRecoverySeconds } from './policy-text.ts';
import { type DemoServiceName, demoServices, isDemoService } from './protocol.ts';

export const faultKinds = ['kill', 'slow', 'fail', 'foreign'] as const;
export type FaultKind = (typeof faultKinds)[number];

/** A fault at a time of the run, in milliseconds from its start; without `toMs` it stays to the end. */
export interface FaultPlan {
  readonly kind: FaultKind;
  readonly service: DemoServiceName;
  readonly fromMs: number;
  readonly toMs?: number;
}

const slowMs = 3_000;

/** The service that a key press hits: the one on which the fault shows best. */
export const faultTargets: Readonly<Record<FaultKind, DemoServiceName>> = {
  kill: 'learner-svc',
  slow: 'event-collector-svc',
  fail: 'learner-svc',
  foreign: 'auth-svc',
};

export const faultTitles: Readonly<Record<FaultKind, string>> = {
  kill: 'kill',
  slow: 'slow down',
  fail: 'fail every 3rd call of',
  foreign: 'foreign certificate for',
};

const slowExpectation: Readonly<Record<DemoServiceName, string>> = {
  'auth-svc': 'its calls take 3 s and still succeed: their route allows 5 s',
  'learner-svc': 'its calls take 3 s and still succeed: their route allows 10 s',
  'event-collector-svc': 'its calls end after the 2 s that their route allows, with DEADLINE_EXCEEDED',
};

/** What one should see while a fault is on. */
export const expectationOf = (kind: FaultKind, service: DemoServiceName): string => {
  const others = service === 'learner-svc' ? '; auth-svc answers on, without the profile' : '; nobody else is harmed';
  switch (kind) {
    case 'kill':
      return `retries, then connect_failure; after 5 failures the breaker opens: circuit_open; then the catalogue has it as critical: no_endpoint${others}`;
    case 'slow':
      return slowExpectation[service];
    case 'fail':
      return 'retries rise, callers hardly notice, the breaker stays closed';
    case 'foreign':
      return `it is in the catalogue, and its peers refuse it: tls_handshake_failed, then circuit_open${others}`;
  }
};

const form = 'write kind:service@from or kind:service@from-to, such as kill:learner-svc@3s-8s';

/** Reads `kind:service@from[-to]`. Throws a `ConfigurationError` that says what is wrong. */
export const parseFault = (text: string): FaultPlan => {
  const parts = /^([^:@]+):([^:@]+)@([^-]+)(?:-(.+))?$/.exec(text);
  const [, kind = '', service = '', from = '', to] = parts ?? [];
  const known = faultKinds.find((candidate) => candidate === kind);
  const wrong = (what: string, remedy: string): ConfigurationError => new ConfigurationError(`--fault ${text}: ${what}`, { remedy });
  if (parts === null) throw wrong('not understood', form);
  if (known === undefined) throw wrong(`no fault is called ${kind}`, `write ${suggest(kind, faultKinds) ?? faultKinds.join(', ')}`);
  if (!isDemoService(service))
    throw wrong(`no service is called ${service}`, `write ${suggest(service, demoServices) ?? demoServices.join(', ')}`);
  const fromMs = parseDurationMs(from);
  const toMs = to === undefined ? undefined : parseDurationMs(to);
  if (fromMs === undefined || fromMs < 0 || (to !== undefined && toMs === undefined)) throw wrong('a time is no duration', form);
  if (toMs !== undefined && toMs <= fromMs) throw wrong('it ends before it begins', form);
  return { kind: known, service, fromMs, ...(toMs === undefined ? {} : { toMs }) };
};

interface Episode {
  readonly kind: FaultKind;
  readonly service: DemoServiceName;
  readonly fromMs: number;
  toMs: number;
}

// After the fault a breaker stays open for its recovery time, and then waits for a probe that succeeds.
const aftermathMs = demoRecoverySeconds * 1_000 + 5_000;

/**
 * The faults of a run: switched on and off one after another, and remembered, so that a failure can be told from one that nobody
 * asked for.
 */
export class Faults {
  readonly #mesh: Pick<DemoMesh, 'killService' | 'startService' | 'order' | 'replaceByStranger' | 'removeStranger'>;
  readonly #now: () => number;
  readonly #episodes: Episode[] = [];
  #queue: Promise<void> = Promise.resolve();

  constructor(mesh: Pick<DemoMesh, 'killService' | 'startService' | 'order' | 'replaceByStranger' | 'removeStranger'>, now: () => number) {
    this.#mesh = mesh;
    this.#now = now;
  }

  isOn(kind: FaultKind, service: DemoServiceName): boolean {
    return this.#current(kind, service) !== undefined;
  }

  /** Faults that are on now. */
  get active(): readonly { readonly kind: FaultKind; readonly service: DemoServiceName }[] {
    return this.#episodes.filter(({ toMs }) => toMs === Number.POSITIVE_INFINITY);
  }

  /** True once any fault was switched on. */
  get any(): boolean {
    return this.#episodes.length > 0;
  }

  /**
   * Switches a fault on or off; harmless where it is so already. Resolves when it has taken effect, rejects where it could not.
   * Switching is one thing at a time: what comes back must not overtake its own going away.
   */
  switch(kind: FaultKind, service: DemoServiceName, on: boolean): Promise<void> {
    const current = this.#current(kind, service);
    if (on === (current !== undefined)) return Promise.resolve();
    const nowMs = this.#now();
    if (current === undefined) this.#episodes.push({ kind, service, fromMs: nowMs, toMs: Number.POSITIVE_INFINITY });
    else current.toMs = nowMs;
    const done = this.#queue.then(() => this.#apply(kind, service, on));
    this.#queue = done.catch(() => {});
    // The end counts from when it has taken effect.
    return done.then(() => {
      if (current !== undefined) current.toMs = this.#now();
    });
  }

  /** Whether a failed or degraded call of `service` that ran from `startedMs` to `endedMs` is explained by a fault. */
  explains(service: DemoServiceName, startedMs: number, endedMs: number): boolean {
    return this.#episodes.some((fault) => {
      // auth-svc asks learner-svc, and goes on without it.
      const concerned = fault.service === service || (service === 'auth-svc' && fault.service === 'learner-svc');
      return concerned && endedMs >= fault.fromMs && startedMs <= fault.toMs + aftermathMs;
    });
  }

  #current(kind: FaultKind, service: DemoServiceName): Episode | undefined {
    return this.#episodes.find((fault) => fault.kind === kind && fault.service === service && fault.toMs === Number.POSITIVE_INFINITY);
  }

  async #apply(kind: FaultKind, service: DemoServiceName, on: boolean): Promise<void> {
    switch (kind) {
      case 'kill':
        await (on ? this.#mesh.killService(service) : this.#mesh.startService(service));
        return;
      case 'slow':
        this.#mesh.order(service, { order: 'delay', ms: on ? slowMs : 0 });
        return;
      case 'fail':
        this.#mesh.order(service, { order: 'fail_every', calls: on ? 3 : 0 });
        return;
      case 'foreign':
        await (on ? this.#mesh.replaceByStranger(service) : this.#mesh.removeStranger(service));
        return;
    }
  }
}
