import { JsonLogger, SystemClock } from '../core/index.ts';
import { type Environment, readSidecarConfiguration } from './configuration.ts';
import { Sidecar } from './sidecar.ts';
import { singleFileMounts } from './single-file-mounts.ts';
import { filesOf, startPatiently } from './startup-wait.ts';

const longestLingerMs = 1_500;

/**
 * Ends with 0. exit() waits for threads that look up a name of which no name server says anything, 5 s and more, and whoever stops a container
 * may have lost patience by then: a process that is replaced leaves them behind.
 */
const leave = (): void => {
  const { execPath } = process;
  try {
    if (process.getActiveResourcesInfo().includes('GetAddrInfoReqWrap')) process.execve?.(execPath, [execPath, '--eval', ''], {});
  } catch {
    // Not every system can.
  }
  process.exit(0);
};

/** `outrider sidecar`: runs until SIGTERM or SIGINT, drains, and resolves with the exit code. */
export const runSidecar = async (options: { readonly config?: string }, environment: Environment): Promise<number> => {
  const clock = new SystemClock();
  const configuration = readSidecarConfiguration({
    environment,
    ...(options.config === undefined ? {} : { configPath: options.config }),
  });
  const log = new JsonLogger(clock, (line) => process.stderr.write(line), configuration.logLevel);
  for (const warning of configuration.warnings) log.warning('configuration', { why: warning });
  for (const { why, remedy } of singleFileMounts(filesOf(configuration))) log.warning('configuration', { why, remedy });
  // As process 1 of a container a signal without a handler is ignored, so there is one from the beginning.
  const wait = { givenUp: false };
  let sidecar: Sidecar | undefined;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      wait.givenUp = true;
      void sidecar?.drain();
    });
  }
  process.on('SIGHUP', () => sidecar?.reload());
  // Without a handler Node would open its debugger for whoever may send signals.
  process.on('SIGUSR1', () => sidecar?.reopenLogs());
  process.once('exit', () => sidecar?.flushLogs());
  const started = await startPatiently(configuration, { clock, log, wait }, () => {
    // One that could not start has closed itself, and is not to be drained by a signal.
    sidecar = undefined;
    sidecar = new Sidecar(configuration, { clock, log, random: Math.random }, environment);
    return sidecar;
  });
  await started?.stopped;
  // Everything has ended, and closing sockets have had their grace; a collector that never answers would keep its library, and the process, for longer.
  clock.setTimer(leave, longestLingerMs);
  return 0;
};
