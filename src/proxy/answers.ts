import {
  GrpcStatus,
  loadReportBinHeader,
  loadReportHeader,
  parseBinaryLoadReport,
  parseGrpcStatus,
  parseLoadReport,
  statusFromHttp,
  statusFromReset,
  statusName,
} from '../grpc/index.ts';
import { errorCodeName, type HeaderBlock, type Stream, Token } from '../http2/index.ts';
import type { RetryPolicy } from '../policy/index.ts';
import type { LoadReport } from '../resilience/index.ts';
import { headerValue } from './headers.ts';
import { type LocalReply, localReply } from './replies.ts';

/** What an attempt that was reset means, and what the caller is told if nothing more is tried. */
export const replyToReset = (cluster: string, endpoint: string, stream: Stream, code: number): LocalReply => {
  if (stream.connectionLost) {
    return localReply(
      'connection_lost',
      `cluster ${cluster}: the connection to ${endpoint} was lost before the answer was complete (${stream.problem ?? 'closed'})`,
    );
  }
  const why = stream.problem === undefined ? howItEnded(stream, code) : `broke HTTP/2: ${stream.problem}`;
  const status = stream.problem === undefined ? statusFromReset(code) : GrpcStatus.INTERNAL;
  return localReply('upstream_reset', `cluster ${cluster}: ${endpoint} ${why}`, status);
};

const howItEnded = (stream: Stream, code: number): string =>
  stream.isLeftOut ? 'went away (GOAWAY) and left the call out' : `reset the stream with ${errorCodeName(code)}`;

/**
 * Reads `grpc-status` of trailers or of a Trailers-Only answer: -1 where it is missing, UNKNOWN where it is no number. Of several the last one
 * counts, as for grpc-go, and the others are removed: clients do not agree on that, and the caller must see what was counted.
 */
export const statusIn = (block: HeaderBlock): number => {
  if (block.duplicateOf(Token.grpcStatus)) block.keepLast(Token.grpcStatus);
  const at = block.indexOf(Token.grpcStatus);
  if (at < 0) return -1;
  const status = parseGrpcStatus(block.bytes, block.valueStart[at] as number, block.valueEnd[at] as number);
  return status < 0 ? GrpcStatus.UNKNOWN : status;
};

/** An answer without `grpc-status` (gRPC http-grpc-status-mapping). */
export const replyToMissingStatus = (cluster: string, endpoint: string, httpStatus: number): LocalReply => {
  const status = statusFromHttp(httpStatus);
  return localReply(
    'missing_status',
    `cluster ${cluster}: ${endpoint} answered HTTP ${httpStatus} without grpc-status (taken as ${statusName(status)})`,
    status,
  );
};

/** The load that a service reports in its trailers (ORCA); `undefined` where it does not, or not rightly. Allocates: for balancers that look at it. */
export const loadReportIn = (block: HeaderBlock): LoadReport | undefined => {
  const binary = block.find(loadReportBinHeader);
  if (binary >= 0) return parseBinaryLoadReport(block.value(binary));
  const text = block.find(loadReportHeader);
  return text < 0 ? undefined : parseLoadReport(block.value(text));
};

/** What a failing answer says in its headers to whoever might try again. */
export interface RetrySigns {
  /** `x-envoy-ratelimited`: tried again for `envoy-ratelimited` alone. */
  readonly rateLimited: boolean;
  /** One of the policy's `retriable_headers` matches. */
  readonly retriableHeader: boolean;
  /** How long the server's limit lasts, where the policy looks at that. */
  readonly rateLimitedMs: number | undefined;
}

const noSigns: RetrySigns = { rateLimited: false, retriableHeader: false, rateLimitedMs: undefined };

/** Reads them from headers, and where they were held from those that came before the trailers. Allocates: for failures only. */
export const retrySignsIn = (
  block: HeaderBlock,
  held: HeaderBlock | undefined,
  policy: RetryPolicy | undefined,
  wallMs: number,
): RetrySigns => {
  if (policy === undefined) return noSigns;
  const value = (name: string): string | undefined =>
    headerValue(block, name) ?? (held === undefined ? undefined : headerValue(held, name));
  const { rateLimitedBackOff, retriableHeaders = [] } = policy;
  const signs = {
    rateLimited: value('x-envoy-ratelimited') !== undefined,
    retriableHeader: retriableHeaders.some((matcher) => matcher.matches(value(matcher.name))),
  };
  for (const { name, unixTimestamp } of rateLimitedBackOff?.resetHeaders ?? []) {
    const text = value(name);
    if (text === undefined || !/^\d{1,12}$/.test(text)) continue;
    const ms = Number(text) * 1_000 - (unixTimestamp ? wallMs : 0);
    if (ms > 0 && ms <= (rateLimitedBackOff?.maxIntervalMs ?? 0)) return { ...signs, rateLimitedMs: ms };
  }
  return { ...signs, rateLimitedMs: undefined };
};
