import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** `host:port`, `[v6]:port`; `undefined` for anything else. */
export const parseAddress = (text: string): Address | undefined => {
  const parts = /^(?:\[([^\]]+)\]|([^:[\]/\s@]+)):(\d{1,5})$/.exec(text);
  const port = Number(parts?.[3]);
  if (parts === null || port < 1 || port > 65_535) return undefined;
  return { host: parts[1] ?? parts[2] ?? '', port };
};

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

/** Whether an address is one of this machine (or of this network namespace), so that its loopback is the one here. */
export const isOfThisMachine = (host: string): boolean =>
  isLoopback(host) ||
  Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === host.toLowerCase()) ?? false);

const mostOwnAddresses = 8;

/** Where others may reach this machine (or this network namespace): not its loopback, nor what needs the name of an interface beside it. */
export const outwardAddresses = (): readonly string[] =>
  Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !/^fe[89ab]/i.test(address))
    .map(({ address }) => address)
    .slice(0, mostOwnAddresses);
