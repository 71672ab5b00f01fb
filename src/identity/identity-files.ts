import type { Clock, Logger, Watch } from '../core/index.ts';
import type { Identity, IdentityPaths } from './identity.ts';

export interface IdentityFilesOptions {
  readonly clock: Clock;
  readonly log: Logger;
}

/** Stats `certificates.reload_ok` and `certificates.reload_failed`. */
export class IdentityFiles implements Watch<Identity> {
  /** Changes taken over, and changes refused, since the start. */
  reloadOk = 0;
  reloadFailed = 0;
  /** Why the files as they are now are not in use; `undefined` while they are. */
  lastError: string | undefined;

  /** Throws a `ConfigurationError` as `loadIdentity` does. */
  constructor(_paths: IdentityPaths, _options: IdentityFilesOptions) {}
  get value(): Identity {
    throw new Error('not yet');
  }
  subscribe(_listener: (identity: Identity) => void): () => void {
    throw new Error('not yet');
  }
  /** Reads the files now (POST /reload). Returns false, and counts and logs, where the old identity was kept. */
  reload(): boolean {
    throw new Error('not yet');
  }
  close(): void {}
}
