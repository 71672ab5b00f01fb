import { isIP } from 'node:net';
import { formatHostPort } from '../../core/index.ts';

/** Where an agent of Consul listens. */
export interface ConsulAddress {
  readonly secure: boolean;
  /** A name or an IP address without brackets; `localhost` for a Unix socket. */
  readonly host: string;
  readonly port: number;
  /** What stands before `/v1`, where the agent is behind something: `''` or `/prefix`. */
  readonly pathPrefix: string;
  /** Absolute path of a Unix socket, instead of host and port. */
  readonly socketPath?: string;
}

const defaultPort = 8500;
const hostPattern = /^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$/;

/**
 * Reads `CONSUL_HTTP_ADDR` in the forms that Consul's own programs take: `host:port`, `http://...`, `https://...`,
 * `unix:///path`. Returns `undefined` for anything else. @param ssl what `CONSUL_HTTP_SSL` says; a scheme in the address wins.
 */
export const parseConsulAddress = (text: string, ssl = false): ConsulAddress | undefined => {
  const [, scheme = '', rest = ''] = /^(?:([a-z]+):\/\/)?(.*)$/.exec(text) ?? [];
  if (scheme === 'unix') {
    return rest.startsWith('/') ? { secure: ssl, host: 'localhost', port: defaultPort, pathPrefix: '', socketPath: rest } : undefined;
  }
  if (!['', 'http', 'https'].includes(scheme)) return undefined;
  const [, bracketed, bare = '', digits, path = ''] = /^(?:\[([^\]]+)\]|([^:/?#@[\]]*))(?::(\d{1,5}))?(\/[^?#]*)?$/.exec(rest) ?? [];
  const host = bracketed ?? bare;
  if (bracketed === undefined ? !hostPattern.test(host) : isIP(host) !== 6) return undefined;
  const port = digits === undefined ? defaultPort : Number(digits);
  if (port < 1 || port > 65_535) return undefined;
  return { secure: scheme === '' ? ssl : scheme === 'https', host, port, pathPrefix: path.replace(/\/+$/, '') };
};

/** As people write it, for the log and error messages. */
export const formatConsulAddress = ({ secure, host, port, pathPrefix, socketPath }: ConsulAddress): string => {
  if (socketPath !== undefined) return `unix://${socketPath}`;
  return `${secure ? 'https' : 'http'}://${formatHostPort({ host, port })}${pathPrefix}`;
};
