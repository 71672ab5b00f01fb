import { ConfigurationError, JsonLogger, SystemClock } from '../core/index.ts';
import { Registry } from '../registry/index.ts';

export interface RegistryCommandOptions {
  readonly listen: string;
  readonly data?: string;
  readonly allowHost: readonly string[];
  readonly datacenter: string;
}

const parseListen = (text: string): { readonly host: string; readonly port: number } => {
  const [, bracketed, plain, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]*)):(\d{1,5})$/.exec(text) ?? [];
  const number = Number(port);
  if (port !== undefined && number <= 65_535) return { host: bracketed ?? (plain === '' ? '0.0.0.0' : (plain ?? '')), port: number };
  throw new ConfigurationError(`--listen ${text}: expected host:port`, { remedy: 'write --listen 127.0.0.1:8500' });
};

const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || host.startsWith('127.');

/** `outrider registry`: runs until SIGTERM or SIGINT, and resolves with the exit code. */
export const runRegistry = async ({ listen, data, allowHost, datacenter }: RegistryCommandOptions): Promise<number> => {
  const { host, port } = parseListen(listen);
  if (!/^[a-z0-9_-]{1,64}$/.test(datacenter)) {
    throw new ConfigurationError(`--datacenter ${datacenter}: expected lower case letters, digits, dashes and underscores`, {
      remedy: 'write --datacenter dc1',
    });
  }
  const clock = new SystemClock();
  const log = new JsonLogger(clock, (line) => process.stderr.write(line), 'info');
  const registry = new Registry({
    host,
    port,
    allowedHosts: allowHost,
    datacenter,
    ...(data === undefined ? {} : { dataPath: data }),
    clock,
    log,
    random: Math.random,
  });
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  const signals = ['SIGTERM', 'SIGINT'] as const;
  for (const signal of signals) process.once(signal, () => ask());
  const bound = await registry.start();
  log.warning('a registry for laptops, demos and tests: one process, no access control', { remedy: 'production wants Consul' });
  if (!isLoopback(host)) log.warning('whoever reaches this address may register services', { address: host });
  log.info('ready', { host: bound.host, port: bound.port, ...(data === undefined ? { data: 'in memory' } : { data }) });
  await asked;
  await registry.close();
  log.info('stopped');
  return 0;
};
