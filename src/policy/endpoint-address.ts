import { isIP } from 'node:net';
import type { Problems } from './problems.ts';
import type { Placed } from './shape.ts';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

const namePattern = /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?$/;
const looksLikeIpv4 = /^[\d.]+$/;

/** Whether it is a name that has to be resolved. */
export const isName = (host: string): boolean => isIP(host) === 0;

/** Checks the host of an endpoint: an IP address or a DNS name. */
export const readHost = ({ value, place }: Placed<string>, problems: Problems): string | undefined => {
  if (isIP(value) !== 0) return value;
  if (looksLikeIpv4.test(value)) problems.error(place, `${JSON.stringify(value)} is no IPv4 address`, 'write four numbers from 0 to 255');
  else if (!namePattern.test(value))
    problems.error(place, `${JSON.stringify(value)} is neither an IP address nor a DNS name`, 'write one of them, without scheme and path');
  else return value;
  return undefined;
};

/** Reads `host:port`, `10.0.0.4:50051` and `[2001:db8::4]:50051`. */
export const readHostPort = (written: Placed<string>, problems: Problems): HostPort | undefined => {
  const { value, place } = written;
  const refuse = (message: string, remedy: string): undefined => {
    problems.error(place, message, remedy);
    return undefined;
  };
  if (isIP(value) === 6) return refuse(`"${value}" is an IPv6 address without brackets`, `write "[${value}]:port"`);
  const parts = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::([^/]*))?$/.exec(value);
  if (parts === null) return refuse(`${JSON.stringify(value)} is not host:port`, 'write "host:port", without scheme and path');
  const [, bracketed, plain = '', portText] = parts;
  if (portText === undefined) return refuse(`"${value}" has no port`, `write "${value}:port"`);
  if (bracketed !== undefined && isIP(bracketed) !== 6)
    return refuse(`"${bracketed}" is no IPv6 address`, 'keep brackets for IPv6 addresses');
  const port = /^\d{1,5}$/.test(portText) ? Number(portText) : 0;
  if (port < 1 || port > 65_535) return refuse(`"${portText}" is no port`, 'write a number from 1 to 65535');
  const host = bracketed ?? readHost({ value: plain, place }, problems);
  return host === undefined ? undefined : { host, port };
};
