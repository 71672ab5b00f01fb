import { type Clock, ConfigurationError, FolderWatch, type Logger, type Timer, type Watch, WatchSource } from '../core/index.ts';
import { type Identity, type IdentityPaths, loadIdentity } from './identity.ts';

export interface IdentityFilesOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Whose certificate it has to be; `undefined`: anybody's. */
  readonly serviceName?: string;
}

/**
 * The identity as it stands in the files, re-read whenever one of them changes. A rotation replaces several files one after
 * the other; what does not fit together (a new certificate beside the old key) is refused, and the last good identity stays.
 *
 * Stats `certificates.reload_ok` and `certificates.reload_failed`.
 */
export class IdentityFiles implements Watch<Identity> {
  /** Changes taken over, and changes refused, since the start. */
  reloadOk = 0;
  reloadFailed = 0;
  /** Why the files as they are now are not in use; `undefined` while they are. */
  lastError: string | undefined;
  readonly #paths: IdentityPaths;
  readonly #options: IdentityFilesOptions;
  readonly #source: WatchSource<Identity>;
  readonly #watch: FolderWatch;
  #listEnd: Timer | undefined;

  /** Throws a `ConfigurationError` as `loadIdentity` does. */
  constructor(paths: IdentityPaths, options: IdentityFilesOptions) {
    this.#paths = paths;
    this.#options = options;
    const files = [paths.caCertPath, paths.clientCertPath, paths.clientKeyPath, ...(paths.crlPath === undefined ? [] : [paths.crlPath])];
    // Before the first reading, so that no change falls between the two.
    this.#watch = new FolderWatch(files, options.clock, () => void this.reload());
    try {
      this.#source = new WatchSource(loadIdentity(paths, options.clock, options.serviceName));
    } catch (error) {
      this.#watch.close();
      throw error;
    }
    this.#warn(this.#source.value);
    this.#awaitListEnd();
  }

  get value(): Identity {
    return this.#source.value;
  }

  subscribe(listener: (identity: Identity) => void): () => void {
    return this.#source.subscribe(listener);
  }

  /** Reads the files now (POST /reload). Returns false, and counts and logs, where the old identity was kept. */
  reload(): boolean {
    let next: Identity;
    try {
      next = this.#load(this.#paths);
    } catch (error) {
      this.#refuse(error);
      this.#keepListAlone();
      return false;
    }
    this.lastError = undefined;
    const { certPem, keyPem, caPem, crlPem } = this.#source.value;
    // A touched file is no rotation: connections would be judged anew for nothing.
    if (next.certPem === certPem && next.keyPem === keyPem && next.caPem === caPem && next.crlPem === crlPem) return true;
    this.#take(next);
    return true;
  }

  close(): void {
    this.#listEnd?.cancel();
    this.#watch.close();
  }

  #load(paths: IdentityPaths): Identity {
    return loadIdentity(paths, this.#options.clock, this.#options.serviceName);
  }

  #take(next: Identity): void {
    this.reloadOk++;
    this.#options.log.info('certificates reloaded', { fingerprint: next.fingerprint, not_after: new Date(next.notAfterMs).toISOString() });
    this.#warn(next);
    this.#source.set(next);
    this.#awaitListEnd();
  }

  /** A revocation list that is out of date or broken must not hold up the rotation of the certificates, until those expire as well. */
  #keepListAlone(): void {
    const { crlPath, ...paths } = this.#paths;
    const { certPem, keyPem, caPem, crlPem, revocations } = this.#source.value;
    if (crlPath === undefined || crlPem === undefined) return;
    let next: Identity;
    try {
      next = this.#load(paths);
    } catch {
      return;
    }
    if (next.certPem === certPem && next.keyPem === keyPem && next.caPem === caPem) return;
    this.#take({ ...next, crlPem, revocations });
  }

  /** Says once that the list in force is out of date: it goes on to count, but nothing newer is known. */
  #awaitListEnd(): void {
    this.#listEnd?.cancel();
    const { clock, log } = this.#options;
    const { nextUpdateMs } = this.#source.value.revocations;
    if (nextUpdateMs === Number.POSITIVE_INFINITY) return;
    this.#listEnd = clock.setTimer(() => {
      // Timers are shorter than some lists, and the wall clock may have been set.
      if (clock.wallNow() < nextUpdateMs) return this.#awaitListEnd();
      log.warning('revocation list out of date, it stays in force', {
        since: new Date(nextUpdateMs).toISOString(),
        remedy: 'publish a new list in CRL_PATH',
      });
    }, nextUpdateMs - clock.wallNow());
  }

  #refuse(error: unknown): void {
    this.reloadFailed++;
    const remedy = error instanceof ConfigurationError ? error.remedy : undefined;
    this.lastError = error instanceof Error ? error.message : String(error);
    this.#options.log.warning('certificates not reloaded, the last good ones stay', { why: this.lastError, remedy });
  }

  #warn({ warnings }: Identity): void {
    for (const { why, remedy } of warnings) this.#options.log.warning('certificate', { why, remedy });
  }
}
