import { randomBytes } from 'node:crypto';
import type { Clock } from '../../core/index.ts';
import { list, object, text } from '../json.ts';
import { type Address, formatAddress } from './address.ts';
import type { AdminPort } from './admin-port.ts';
import { type CheckResult, failed, ok, skipped } from './check-result.ts';
import { askHttp, askJson, type HttpQuestion } from './http-question.ts';
import { UnansweredError } from './network-failure.ts';

const whyOf = (error: unknown): string => {
  if (error instanceof UnansweredError) return error.failure.why;
  throw error;
};

/** What dashboards and alerts are made of. `grpc_requests_total` has no series before the first call. */
const promisedFamilies = [
  'grpc_request_duration_seconds',
  'circuit_breaker_state',
  'circuit_breaker_failures_total',
  'outrider_fates_total',
];
const familiesOfCalls = ['grpc_requests_total'];
const familiesOfTls = ['mtls_certificate_expiry_seconds'];

/** The exposition of one sidecar. @param hasServed a call has ended there just now */
export const checkMetrics = async (admin: AdminPort, hasServed: boolean, hasTls: boolean): Promise<CheckResult> => {
  const remedy = `curl -s http://${admin.shown}/metrics`;
  try {
    const { status, body } = await admin.metrics();
    if (status !== 200) return failed('metrics', `/metrics answers ${status}`, remedy);
    const families = new Set(Array.from(body.matchAll(/^# TYPE (\S+) /gm), ([, name]) => name ?? ''));
    const wanted = [...promisedFamilies, ...(hasServed ? familiesOfCalls : []), ...(hasTls ? familiesOfTls : [])];
    const missing = wanted.filter((name) => !families.has(name));
    if (missing.length > 0) return failed('metrics', `/metrics lacks ${missing.join(', ')}`, remedy);
    return ok('metrics', `${families.size} families`);
  } catch (error) {
    return skipped('metrics', `/metrics: ${whyOf(error)}`);
  }
};

/** Whether Prometheus scrapes that sidecar, and has its series. */
export const checkPrometheus = async (base: string, admin: Address, service: string, question: HttpQuestion): Promise<CheckResult> => {
  const name = formatAddress(admin);
  const targets = `curl -s ${base}/api/v1/targets`;
  try {
    const { value } = await askJson(`${base}/api/v1/targets?state=active`, question);
    const found = list(object(object(value)['data'])['activeTargets']).find((target) => isTargetOf(target, name, service));
    if (found === undefined) {
      const remedy = `${targets}  # add ${name} to scrape_configs, path /metrics`;
      return failed('metrics.scraped', `Prometheus has no target ${name}, nor one with the label service="${service}"`, remedy);
    }
    const url = text(found['scrapeUrl']);
    if (found['health'] !== 'up') {
      const why = text(found['lastError'], text(found['health']));
      return failed(
        'metrics.scraped',
        `${url} is ${text(found['health'])}: ${why}`,
        `curl -s ${url}  # from the machine of Prometheus; ADMIN_ADDRESS says on which interface it listens`,
      );
    }
    const instance = text(object(found['labels'])['instance']);
    const query = `count({__name__=~"outrider_.+|mtls_certificate_expiry_seconds",instance=${JSON.stringify(instance)}})`;
    const answer = await askJson(`${base}/api/v1/query?query=${encodeURIComponent(query)}`, question);
    const [sample] = list(object(object(answer.value)['data'])['result']);
    const series = Array.isArray(sample?.['value']) ? Number(sample['value'][1]) : 0;
    if (!(series > 0))
      return failed(
        'metrics.scraped',
        `${url} is up, and Prometheus has no series of it`,
        `curl -sG ${base}/api/v1/query --data-urlencode 'query=${query}'`,
      );
    return ok('metrics.scraped', `${url} is up, ${series} series`);
  } catch (error) {
    return failed(
      'metrics.scraped',
      `Prometheus at ${base}: ${whyOf(error)}`,
      `${targets}  # or name another one: outrider verify --prometheus <url>`,
    );
  }
};

const isTargetOf = (target: Readonly<Record<string, unknown>>, admin: string, service: string): boolean => {
  const labels = object(target['labels']);
  const url = text(target['scrapeUrl'], '');
  return (
    labels['service'] === service ||
    labels['job'] === service ||
    labels['instance'] === admin ||
    (URL.canParse(url) && new URL(url).host === admin)
  );
};

/** A trace that is kept whatever the sampling of the mesh says: the caller decides (W3C `sampled`). */
export const newTrace = (): { readonly id: string; readonly headers: Readonly<Record<string, string>> } => {
  const id = randomBytes(16).toString('hex');
  return { id, headers: { traceparent: `00-${id}-${randomBytes(8).toString('hex')}-01` } };
};

export interface TraceQuestion extends HttpQuestion {
  /** How long exporters may take to send, and Jaeger to show. */
  readonly patienceMs: number;
  /** 2: a call through both sidecars; 1: through the inbound one alone. */
  readonly sidecars: number;
}

const pollMs = 250;

const pause = (clock: Clock, ms: number): Promise<void> => new Promise((resolve) => void clock.setTimer(resolve, ms));

/** Asks Jaeger again and again until it shows the trace with a span of each sidecar on the way. */
export const checkTrace = async (base: string, traceId: string, service: string, question: TraceQuestion): Promise<CheckResult> => {
  const { clock, patienceMs, sidecars } = question;
  const url = `${base}/api/traces/${traceId}`;
  const giveUpAtMs = clock.now() + patienceMs;
  let seen: readonly string[] = [];
  for (;;) {
    try {
      const answer = await askHttp(url, question);
      // 404 is "not yet".
      if (answer.status >= 400 && answer.status !== 404)
        return failed('trace', `Jaeger at ${base} answers ${answer.status}`, `curl -s ${base}/api/services`);
      seen = answer.status === 404 ? [] : servicesIn(answer.body);
    } catch (error) {
      return failed(
        'trace',
        `Jaeger at ${base}: ${whyOf(error)}`,
        `curl -s ${base}/api/services  # or name another one: outrider verify --jaeger <url>`,
      );
    }
    if (seen.includes(service) && seen.length >= sidecars) return ok('trace', `${traceId} shows ${seen.join(' and ')}`);
    if (clock.now() >= giveUpAtMs) break;
    await pause(clock, pollMs);
  }
  const remedy = `curl -s ${url}  # JAEGER_HOST of the sidecars says where spans go; outrider stats --filter '^tracing' counts those that did not arrive`;
  if (seen.length === 0) return failed('trace', `Jaeger does not know the trace ${traceId} after ${patienceMs / 1_000} s`, remedy);
  return failed('trace', `the trace ${traceId} shows ${seen.join(' and ')} only after ${patienceMs / 1_000} s`, remedy);
};

/** Names of the services whose spans are in the answer of Jaeger's query API, sorted. */
const servicesIn = (body: string): readonly string[] => {
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch {
    return [];
  }
  const names = list(object(answer)['data']).flatMap((trace) =>
    Object.values(object(trace['processes'])).map((process) => text(object(process)['serviceName'])),
  );
  return [...new Set(names)].sort();
};
