import { existsSync } from 'node:fs';
import { type Clock, ConfigurationError, formatDurationMs, holdProcess } from '../core/index.ts';
import type { SidecarConfiguration } from './configuration.ts';

const pollIntervalMs = 200;

interface AwaitedFile {
  readonly variable: string;
  readonly path: string;
}

/** Who waits, and whoever may end the wait. */
export interface StartupWait {
  readonly givenUp: boolean;
  /** Told of the files that are missing, whenever their number has changed. */
  readonly onMissing?: (paths: readonly string[]) => void;
}

const awaitedFiles = ({ consul, identity, policyPath }: SidecarConfiguration): readonly AwaitedFile[] => {
  const files: AwaitedFile[] = [];
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
    const missing = awaitedFiles(configuration).filter(({ path }) => !existsSync(path));
    if (missing.length === 0) return;
    if (clock.now() - startedMs >= configuration.startupWaitMs) throw missingFiles(missing, configuration.startupWaitMs);
    if (missing.length !== reported) wait.onMissing?.(missing.map(({ path }) => path));
    reported = missing.length;
    const release = holdProcess();
    await new Promise<void>((resolve) => {
      clock.setTimer(resolve, pollIntervalMs);
    });
    release();
  }
};

const missingFiles = (missing: readonly AwaitedFile[], waitedMs: number): ConfigurationError => {
  const waited = waitedMs === 0 ? '' : ` after ${formatDurationMs(waitedMs)}`;
  const list = missing.map(({ variable, path }) => `  ${variable}: ${path}: no such file or folder`).join('\n');
  return new ConfigurationError(`files of the configuration are missing${waited}:\n${list}`, {
    remedy: 'correct the paths, or let the sidecar wait for them with STARTUP_WAIT=30s',
  });
};
