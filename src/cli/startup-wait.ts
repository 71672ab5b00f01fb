import { statSync } from 'node:fs';
import { type Clock, ConfigurationError, formatDurationMs, holdProcess, type Logger } from '../core/index.ts';
import type { SidecarConfiguration } from './configuration.ts';
import type { NamedFile } from './single-file-mounts.ts';
import { StartupPage } from './startup-page.ts';

const pollIntervalMs = 200;
const longestRetryMs = 2_000;

/** Who waits, and whoever may end the wait. */
export interface StartupWait {
  readonly givenUp: boolean;
  /** Told of the files that are missing, whenever their number has changed. */
  readonly onMissing?: (paths: readonly string[]) => void;
}

/** A file in a folder that may not be entered is not missing: reading it says what is wrong. */
const isMissing = ({ path }: NamedFile): boolean => {
  try {
    statSync(path);
    return false;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    return code === 'ENOENT' || code === 'ENOTDIR';
  }
};

/** Everything that the configuration names and that has to be there. */
export const filesOf = ({ consul, identity, policyPath }: SidecarConfiguration): readonly NamedFile[] => {
  const files: NamedFile[] = [];
  const add = (variable: string, path: string | undefined): void => {
    if (path !== undefined) files.push({ variable, path });
  };
  add('CA_CERT_PATH', identity?.caCertPath);
  add('CLIENT_CERT_PATH', identity?.clientCertPath);
  add('CLIENT_KEY_PATH', identity?.clientKeyPath);
  add('CRL_PATH', identity?.crlPath);
  add('POLICY_PATH', policyPath);
  add('CONSUL_HTTP_TOKEN_FILE', consul?.tokenFile);
  add('CONSUL_CACERT', consul?.caCertPath);
  add('CONSUL_CLIENT_CERT', consul?.clientCertPath);
  add('CONSUL_CLIENT_KEY', consul?.clientKeyPath);
  return files;
};

/**
 * Waits until every file of the configuration is there, at most `STARTUP_WAIT`: where certificates come from another
 * container, the sidecar is often the first to start. Rejects with a `ConfigurationError` that lists what is still missing; resolves
 * early, within a poll, where the wait was given up.
 */
export const awaitStartupFiles = async (
  configuration: SidecarConfiguration,
  clock: Clock,
  wait: StartupWait = { givenUp: false },
): Promise<void> => {
  const startedMs = clock.now();
  let reported = 0;
  while (!wait.givenUp) {
    const missing = filesOf(configuration).filter(isMissing);
    if (missing.length === 0) return;
    if (clock.now() - startedMs >= configuration.startupWaitMs) throw missingFiles(missing, configuration.startupWaitMs);
    if (missing.length !== reported) wait.onMissing?.(missing.map(({ path }) => path));
    reported = missing.length;
    await pause(clock, pollIntervalMs);
  }
};

const pause = async (clock: Clock, ms: number): Promise<void> => {
  const release = holdProcess();
  await new Promise<void>((resolve) => {
    clock.setTimer(resolve, ms);
  });
  release();
};

/** What can be started, and fails with a `ConfigurationError` where that is the fault of what it was given. */
interface Startable {
  start(): Promise<void>;
}

/**
 * Makes it and starts it. Within `STARTUP_WAIT` a `ConfigurationError` is no end: certificates that are half written or not readable yet, policies
 * that are about to be mended, a port that another process still holds. Meanwhile the log says once what is waited for, and `/ready` of the admin port says it
 * all the time. Resolves with `undefined` where the wait was given up.
 */
export const startPatiently = async <T extends Startable>(
  configuration: SidecarConfiguration,
  { clock, log, wait }: { readonly clock: Clock; readonly log: Logger; readonly wait: { readonly givenUp: boolean } },
  make: () => T,
): Promise<T | undefined> => {
  const { adminAddress, adminPort, startupWaitMs } = configuration;
  const page = new StartupPage(adminAddress, adminPort, clock);
  const startedMs = clock.now();
  let told = '';
  let retryMs = pollIntervalMs;
  try {
    await awaitStartupFiles(configuration, clock, {
      get givenUp() {
        return wait.givenUp;
      },
      onMissing: (missing) => {
        log.info('waiting for files', { missing, at_most_ms: startupWaitMs });
        void page.show(`waiting for files that are missing: ${missing.join(', ')}`);
      },
    });
    while (!wait.givenUp) {
      try {
        const made = make();
        await page.close();
        await made.start();
        return made;
      } catch (error) {
        if (!(error instanceof ConfigurationError) || clock.now() - startedMs >= startupWaitMs) throw error;
        const { message, remedy } = error;
        if (message !== told) log.warning('waiting for what is wrong to be mended', { why: message, remedy, at_most_ms: startupWaitMs });
        told = message;
        await page.show(`waiting for what is wrong to be mended: ${message}${remedy === undefined ? '' : `; ${remedy}`}`);
      }
      await pause(clock, retryMs);
      retryMs = Math.min(2 * retryMs, longestRetryMs);
    }
    return undefined;
  } finally {
    await page.close();
  }
};

const missingFiles = (missing: readonly NamedFile[], waitedMs: number): ConfigurationError => {
  const waited = waitedMs === 0 ? '' : ` after ${formatDurationMs(waitedMs)}`;
  const list = missing.map(({ variable, path }) => `  ${variable}: ${path}: no such file or folder`).join('\n');
  return new ConfigurationError(`files of the configuration are missing${waited}:\n${list}`, {
    remedy: 'correct the paths, or let the sidecar wait for them with STARTUP_WAIT=30s',
  });
};
