import { readFileSync } from 'node:fs';
import { type Clock, FolderWatch, type Logger } from '../../core/index.ts';

export interface ConsulCredentialPaths {
  /** File with the ACL token and nothing else; white space around it is ignored. */
  readonly tokenFile?: string;
  /** PEM file of the authorities that may have signed the agent's certificate; the system's where left out. */
  readonly caCertPath?: string;
  readonly clientCertPath?: string;
  readonly clientKeyPath?: string;
}

export interface ConsulTlsFiles {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** A token goes into a header: whatever else a file holds is not sent anywhere. */
const tokenPattern = /^[\x21-\x7e]{1,1024}$/;

/**
 * The ACL token and the files of TLS, read again when they change. What cannot be read or is no token keeps the last good one, with a
 * warning: whoever replaces a file may write it in two steps.
 */
export class ConsulCredentials {
  token: string | undefined;
  tls: ConsulTlsFiles = {};
  readonly #paths: ConsulCredentialPaths;
  readonly #log: Logger;
  readonly #listeners = new Set<() => void>();
  readonly #watch: FolderWatch | undefined;

  constructor(paths: ConsulCredentialPaths, options: { readonly clock: Clock; readonly log: Logger }) {
    this.#paths = paths;
    this.#log = options.log;
    const files = [paths.tokenFile, paths.caCertPath, paths.clientCertPath, paths.clientKeyPath].filter((path) => path !== undefined);
    // Before the first reading, so that no change falls between the two.
    this.#watch = files.length === 0 ? undefined : new FolderWatch(files, options.clock, () => this.#reload());
    this.#read();
  }

  /** Calls `listener` after the token or a file of TLS has changed. Returns what ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    this.#watch?.close();
    this.#listeners.clear();
  }

  #reload(): void {
    if (!this.#read()) return;
    this.#log.info('credentials for Consul read again');
    for (const listener of [...this.#listeners]) listener();
  }

  /** Whether anything is different now. */
  #read(): boolean {
    const before = { token: this.token, tls: this.tls };
    const { tokenFile, caCertPath, clientCertPath, clientKeyPath } = this.#paths;
    if (tokenFile !== undefined) this.token = this.#readToken(tokenFile) ?? this.token;
    try {
      this.tls = {
        ...(caCertPath === undefined ? {} : { ca: readFileSync(caCertPath) }),
        ...(clientCertPath === undefined ? {} : { cert: readFileSync(clientCertPath) }),
        ...(clientKeyPath === undefined ? {} : { key: readFileSync(clientKeyPath) }),
      };
    } catch (error) {
      this.#log.warning('a file of TLS for Consul could not be read', { error: errorText(error) });
    }
    return this.token !== before.token || !sameFiles(this.tls, before.tls);
  }

  #readToken(path: string): string | undefined {
    try {
      const text = readFileSync(path, 'utf8').trim();
      if (tokenPattern.test(text)) return text;
      this.#log.warning('the token file for Consul holds no token', { path });
    } catch (error) {
      this.#log.warning('the token file for Consul could not be read', { error: errorText(error) });
    }
    return undefined;
  }
}

const errorText = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const sameFiles = (a: ConsulTlsFiles, b: ConsulTlsFiles): boolean =>
  (['ca', 'cert', 'key'] as const).every((name) => {
    const [first, second] = [a[name], b[name]];
    return first === second || (first !== undefined && second !== undefined && first.equals(second));
  });
