import { isIP } from 'node:net';
import { parseDurationMs } from '../core/index.ts';
import { type StatsdFormat, statsdFormats } from '../telemetry/index.ts';
import { accepted, hostName, oneOf, type Parsed, setting } from './setting.ts';

/** Settings of the metrics that are sent to StatsD, and of exemplars. */

export interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

const usualPort = 8125;
const withPort = /^(?:\[([^\]]*)\]|([^:[\]]+))(?::(\d{1,5}))?$/;

/** `host`, `host:port`, an IPv6 address with or without brackets, or one in brackets with a port. */
const hostAndPort = (text: string): Parsed<HostAndPort> => {
  if (isIP(text) === 6) return accepted({ host: text, port: usualPort });
  const [, bracketed, plain, digits] = withPort.exec(text) ?? [];
  const port = digits === undefined ? usualPort : Number(digits);
  const host = bracketed ?? plain ?? '';
  const valid = bracketed === undefined ? isIP(host) === 4 || hostName.test(host) : isIP(host) === 6;
  if (valid && port >= 1 && port <= 65_535) return accepted({ host, port });
  const bare = text.replace(/^[a-z]+:\/\//i, '').replace(/\/.*$/, '');
  const allowed = /^unix:/.test(text)
    ? 'a host with or without a port, by UDP (sockets of the file system are not written to: let the agent listen on UDP)'
    : 'a host name or an address, with or without a port, and without a scheme';
  return { ok: false, allowed, write: bare !== text && withPort.test(bare) && bare !== '' ? bare : 'statsd:8125' };
};

const prefix = (text: string): Parsed<string> => {
  const bare = text.replace(/\.+$/, '');
  if (/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/.test(bare) && bare.length <= 200) return accepted(bare);
  return { ok: false, allowed: 'letters, digits, dashes, underscores and dots between them', write: 'outrider.auth-svc' };
};

const shortestMs = 100;
const longestMs = 10_000;

const interval = (text: string): Parsed<number> => {
  const value = parseDurationMs(text);
  if (value !== undefined && value >= shortestMs && value <= longestMs) return accepted(value);
  const bare = /^\d+(\.\d+)?$/.test(text);
  return { ok: false, allowed: 'a duration with its unit, 100ms to 10s', write: bare && Number(text) <= 10 ? `${text}s` : '10s' };
};

const onOrOff = (text: string): Parsed<boolean> => {
  if (/^(on|true)$/i.test(text)) return accepted(true);
  if (/^(off|false)$/i.test(text)) return accepted(false);
  return { ok: false, allowed: 'on or off', write: 'on' };
};

export const statsdSettings = {
  metricsHost: setting('METRICS_HOST', undefined, hostAndPort, 'host[:8125] of StatsD, which gets metrics by UDP'),
  metricsFormat: setting(
    'METRICS_FORMAT',
    'statsd',
    oneOf<StatsdFormat>(statsdFormats, 'statsd'),
    'statsd, or dogstatsd: with tags (DD_ENV, DD_SERVICE, DD_VERSION and DD_TAGS too)',
  ),
  metricsPrefix: setting('METRICS_PREFIX', undefined, prefix, 'what its names begin with (outrider.<SERVICE_NAME>; with tags outrider)'),
  metricsIntervalMs: setting('METRICS_INTERVAL', '10s', interval, 'how often they are sent, at most every 10s'),
  metricsExemplars: setting('METRICS_EXEMPLARS', undefined, onOrOff, 'traces of single calls in /metrics as OpenMetrics (on with traces)'),
};
