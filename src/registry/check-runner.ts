import type { Clock, Logger, Timer } from '../core/index.ts';
import type { Catalogue, CheckEntry, CheckListener } from './catalogue.ts';
import type { CheckStatus } from './definitions.ts';
import { type ProbeResult, probe, timeoutOf } from './probes.ts';
import { RegistryProblem } from './reply.ts';

/** Consul looks every 30 s for services that have been critical for too long. */
const reapIntervalMs = 30_000;

export interface CheckRunnerOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** From 0 to 1, so that checks that came together do not go on together. */
  readonly random: () => number;
}

interface RunningCheck {
  readonly check: CheckEntry;
  timer: Timer | undefined;
  readonly stop: AbortController;
  successes: number;
  failures: number;
}

/** Feeds the checks of a catalogue: lets TTLs run out, probes what is to be probed, takes out what was critical for too long. */
export class CheckRunner implements CheckListener {
  readonly #catalogue: Catalogue;
  readonly #options: CheckRunnerOptions;
  readonly #running = new Map<CheckEntry, RunningCheck>();
  #reaper: Timer | undefined;
  #closed = false;

  constructor(catalogue: Catalogue, options: CheckRunnerOptions) {
    this.#catalogue = catalogue;
    this.#options = options;
    this.#reapLater();
  }

  added(check: CheckEntry): void {
    if (this.#closed || check.kind === '' || check.kind === 'maintenance') return;
    const running: RunningCheck = { check, timer: undefined, stop: new AbortController(), successes: 0, failures: 0 };
    this.#running.set(check, running);
    if (check.kind === 'ttl') this.#armTtl(running);
    else this.#next(running, 0);
  }

  removed(check: CheckEntry): void {
    const running = this.#running.get(check);
    running?.timer?.cancel();
    running?.stop.abort();
    this.#running.delete(check);
  }

  /** What `/v1/agent/check/pass|warn|fail|update` says; the TTL begins anew. Throws where the check has none. */
  report(check: CheckEntry, status: CheckStatus, output: string): void {
    const running = this.#running.get(check);
    if (check.kind !== 'ttl' || running === undefined)
      throw new RegistryProblem(500, `CheckID "${check.definition.id}" does not have associated TTL`);
    this.#catalogue.setStatus(check, status, output);
    this.#armTtl(running);
  }

  close(): void {
    this.#closed = true;
    this.#reaper?.cancel();
    for (const check of [...this.#running.keys()]) this.removed(check);
  }

  #armTtl(running: RunningCheck): void {
    running.timer?.cancel();
    const { check } = running;
    running.timer = this.#options.clock.setTimer(() => {
      const last = check.output === '' ? '' : ` (last output before timeout follows): ${check.output}`;
      if (check.status !== 'critical') this.#catalogue.setStatus(check, 'critical', `TTL expired${last}`);
    }, check.definition.ttlMs);
  }

  #next(running: RunningCheck, delayMs: number): void {
    running.timer = this.#options.clock.setTimer(() => void this.#probe(running), delayMs);
  }

  async #probe(running: RunningCheck): Promise<void> {
    const { definition } = running.check;
    const timeout = new AbortController();
    const end = this.#options.clock.setTimer(() => timeout.abort(), timeoutOf(definition));
    const onStop = (): void => timeout.abort();
    running.stop.signal.addEventListener('abort', onStop, { once: true });
    const result = await probe(definition, timeout.signal);
    end.cancel();
    if (running.stop.signal.aborted) return;
    running.stop.signal.removeEventListener('abort', onStop);
    this.#heard(running, result);
    this.#next(running, definition.intervalMs * (0.95 + 0.1 * this.#options.random()));
  }

  /** A status counts once it was seen as often as the check asks for. */
  #heard(running: RunningCheck, { status, output }: ProbeResult): void {
    const { check } = running;
    const { successBeforePassing, failuresBeforeCritical } = check.definition;
    if (status === 'critical') {
      running.successes = 0;
      if (++running.failures <= failuresBeforeCritical) return;
    } else {
      running.failures = 0;
      if (++running.successes <= successBeforePassing) return;
    }
    this.#catalogue.setStatus(check, status, output);
  }

  #reapLater(): void {
    this.#reaper = this.#options.clock.setTimer(() => {
      this.#reap();
      this.#reapLater();
    }, reapIntervalMs);
  }

  #reap(): void {
    const nowMs = this.#options.clock.now();
    for (const { definition, criticalSinceMs } of this.#catalogue.checks) {
      const { deregisterAfterMs, serviceId, id } = definition;
      if (deregisterAfterMs === 0 || criticalSinceMs === undefined || nowMs - criticalSinceMs < deregisterAfterMs) continue;
      if (this.#catalogue.service(serviceId) === undefined) continue;
      this.#options.log.info('service taken out', { service: serviceId, check: id, critical_for_ms: Math.round(nowMs - criticalSinceMs) });
      this.#catalogue.deregister(serviceId);
    }
  }
}
