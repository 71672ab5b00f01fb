import { randomBytes } from 'node:crypto';
import { formatHostPort } from '../../core/index.ts';
import { type Json, list, object, text } from '../json.ts';
import type { Address } from './address.ts';
import type { AdminPort } from './admin-port.ts';
import { askAgain, type Found, final, passing } from './ask-again.ts';
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

export interface ScrapeQuestion extends HttpQuestion {
  /** How long Prometheus may take to find a sidecar, and to scrape it for the first time. */
  readonly patienceMs: number;
}

/** Whether Prometheus scrapes that sidecar, and has its series. */
export const checkPrometheus = (base: string, admin: Address, service: string, question: ScrapeQuestion): Promise<CheckResult> =>
  askAgain(question.clock, question.patienceMs, async () => {
    try {
      return await askPrometheus(base, admin, service, question);
    } catch (error) {
      const remedy = `curl -s ${base}/api/v1/targets  # or name another one: outrider verify --prometheus <url>`;
      return final(failed('metrics.scraped', `Prometheus at ${base}: ${whyOf(error)}`, remedy));
    }
  });

const askPrometheus = async (base: string, admin: Address, service: string, question: HttpQuestion): Promise<Found> => {
  const name = formatHostPort(admin);
  const { value } = await askJson(`${base}/api/v1/targets?state=active`, question);
  const active = list(object(object(value)['data'])['activeTargets']);
  const found = active.find((target) => addressOf(target) === name) ?? active.find((target) => isLabelled(target, service));
  if (found === undefined) {
    const remedy = `curl -s ${base}/api/v1/targets  # add ${name} to scrape_configs, path /metrics`;
    return passing(failed('metrics.scraped', `Prometheus has no target ${name}, nor one with the label sidecar="${service}"`, remedy));
  }
  const url = text(found['scrapeUrl']);
  if (found['health'] === 'unknown') {
    const remedy = `curl -s ${base}/api/v1/targets  # scrapeInterval says how often; --scrape-timeout waits longer`;
    return passing(failed('metrics.scraped', `${url} has not been scraped yet`, remedy));
  }
  if (found['health'] !== 'up') {
    const why = text(found['lastError'], text(found['health']));
    const remedy = `curl -s ${url}  # from the machine of Prometheus; ADMIN_ADDRESS says on which interface it listens`;
    return final(failed('metrics.scraped', `${url} is ${text(found['health'])}: ${why}`, remedy));
  }
  const instance = text(object(found['labels'])['instance']);
  const query = `count({__name__=~"outrider_.+|mtls_certificate_expiry_seconds",instance=${JSON.stringify(instance)}})`;
  const answer = await askJson(`${base}/api/v1/query?query=${encodeURIComponent(query)}`, question);
  const [sample] = list(object(object(answer.value)['data'])['result']);
  const series = Array.isArray(sample?.['value']) ? Number(sample['value'][1]) : 0;
  if (series > 0) return final(ok('metrics.scraped', `${url} is up, ${series} series`));
  const remedy = `curl -sG ${base}/api/v1/query --data-urlencode 'query=${query}'`;
  return passing(failed('metrics.scraped', `${url} is up, and Prometheus has no series of it`, remedy));
};

const addressOf = (target: Json): string => {
  const url = text(target['scrapeUrl'], '');
  return URL.canParse(url) ? new URL(url).host : '';
};

/** As `deploy/prometheus` labels them, or somebody else usually does: the address of a published port is another one than Prometheus asks. */
const isLabelled = (target: Json, service: string): boolean => {
  const labels = object(target['labels']);
  return labels['sidecar'] === service || labels['service'] === service || labels['job'] === service;
};

/** A trace that is kept whatever the sampling of the mesh says: the caller decides (W3C `sampled`). */
export const newTrace = (): { readonly id: string; readonly headers: Readonly<Record<string, string>> } => {
  const id = randomBytes(16).toString('hex');
  return { id, headers: { traceparent: `00-${id}-${randomBytes(8).toString('hex')}-01` } };
};

export interface TraceQuestion extends HttpQuestion {
  /** How long exporters may take to send, and Jaeger to show. */
  readonly patienceMs: number;
  /** The call went through both sidecars, not through the inbound one alone. */
  readonly throughBoth: boolean;
}

/** Asks Jaeger again and again until it shows the trace with spans of the sidecars on the way. */
export const checkTrace = (base: string, traceId: string, service: string, question: TraceQuestion): Promise<CheckResult> => {
  const { clock, patienceMs, throughBoth } = question;
  const url = `${base}/api/traces/${traceId}`;
  const missing = `curl -s ${url}  # JAEGER_HOST of the sidecars says where spans go; outrider stats --filter '^tracing' counts those that did not arrive`;
  const patience = `after ${patienceMs / 1_000} s`;
  return askAgain(clock, patienceMs, async () => {
    let seen: readonly SeenSpan[];
    try {
      const answer = await askHttp(url, question);
      // 404 is "not yet".
      if (answer.status >= 400 && answer.status !== 404)
        return final(failed('trace', `Jaeger at ${base} answers ${answer.status}`, `curl -s ${base}/api/services`));
      seen = answer.status === 404 ? [] : spansIn(answer.body);
    } catch (error) {
      const remedy = `curl -s ${base}/api/services  # or name another one: outrider verify --jaeger <url>`;
      return final(failed('trace', `Jaeger at ${base}: ${whyOf(error)}`, remedy));
    }
    const arrived = seen.some((span) => span.kind === 'server' && span.service === service);
    const left = !throughBoth || seen.some(({ kind }) => kind === 'client');
    if (arrived && left) return final(ok('trace', `${traceId} shows ${namesOf(seen)}`));
    if (seen.length === 0) return passing(failed('trace', `Jaeger does not know the trace ${traceId} ${patience}`, missing));
    return passing(failed('trace', `the trace ${traceId} shows ${namesOf(seen)} only, ${patience}`, missing));
  });
};

interface SeenSpan {
  readonly service: string;
  /** `server`, `client`. */
  readonly kind: string;
}

const namesOf = (spans: readonly SeenSpan[]): string =>
  [...new Set(spans.map(({ service, kind }) => `${service} (${kind})`))].sort().join(', ');

/** Spans in the answer of Jaeger's query API. */
const spansIn = (body: string): readonly SeenSpan[] => {
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch {
    return [];
  }
  return list(object(answer)['data']).flatMap((trace) => {
    const processes = object(trace['processes']);
    return list(trace['spans']).map((span) => ({
      service: text(object(processes[text(span['processID'])])['serviceName']),
      kind: text(list(span['tags']).find((tag) => tag['key'] === 'span.kind')?.['value'], 'internal'),
    }));
  });
};
