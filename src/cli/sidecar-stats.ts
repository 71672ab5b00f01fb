import type { Clock } from '../core/index.ts';
import type { IdentityFiles } from '../identity/index.ts';
import type { PolicyFiles } from '../policy/index.ts';
import type { StatSink, StatSource } from '../telemetry/index.ts';

/** What is told of the policies: how readings went, and whether what is written is in force. */
export class PolicyFileStats implements StatSource {
  readonly #files: PolicyFiles;

  constructor(files: PolicyFiles) {
    this.#files = files;
  }

  collectStats(sink: StatSink): void {
    const { history, reloadFailed, reloadOk } = this.#files;
    sink.counter('policy.reload_ok', reloadOk);
    sink.counter('policy.reload_failed', reloadFailed);
    sink.gauge('policy.last_reload_successful', history.at(-1)?.ok === false ? 0 : 1);
    const lastGood = history.findLast(({ ok }) => ok);
    if (lastGood !== undefined) sink.gauge('policy.last_reload_success_timestamp_seconds', lastGood.atMs / 1_000);
  }
}

const dayMs = 86_400_000;

/** What is told of the certificates: how readings went, and how long they are valid. */
export class CertificateStats implements StatSource {
  readonly #files: IdentityFiles;
  readonly #clock: Clock;

  constructor(files: IdentityFiles, clock: Clock) {
    this.#files = files;
    this.#clock = clock;
  }

  collectStats(sink: StatSink): void {
    const { lastError, reloadFailed, reloadOk, value } = this.#files;
    sink.counter('certificates.reload_ok', reloadOk);
    sink.counter('certificates.reload_failed', reloadFailed);
    sink.gauge('certificates.last_reload_successful', lastError === undefined ? 1 : 0);
    const nowMs = this.#clock.wallNow();
    const authoritiesMs = value.authorities.map(({ validToDate }) => validToDate.getTime());
    const firstAuthorityMs = Math.min(...authoritiesMs);
    sink.gauge('certificates.expiry_seconds', (value.notAfterMs - nowMs) / 1_000);
    if (authoritiesMs.length > 0) sink.gauge('certificates.authority_expiry_seconds', (firstAuthorityMs - nowMs) / 1_000);
    // Envoy's, in whole days.
    sink.gauge(
      'server.days_until_first_cert_expiring',
      Math.max(Math.floor((Math.min(value.notAfterMs, firstAuthorityMs) - nowMs) / dayMs), 0),
    );
  }
}
