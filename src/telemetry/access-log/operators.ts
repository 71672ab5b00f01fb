import { type Fate, reasons } from '../../core/index.ts';
import { statusName } from '../../grpc/index.ts';
import type { AccessLogOperator, AccessLogOperatorName } from '../../policy/index.ts';
import type { EndedCall } from '../ended-call.ts';
import { cut, decodeHeader } from './log-text.ts';
import { responseCodeDetails, responseFlagsText } from './response-flags.ts';
import { formatTime, isoTimes } from './time-form.ts';

/** What a line can tell beside what its call knows. */
export interface LogContext {
  readonly serviceName: string;
  readonly hostname: string;
  /** Milliseconds since the Unix epoch. */
  wallNow(): number;
}

/** A value of a call; `undefined`: it has none. */
export type ReadValue = (call: EndedCall) => string | number | undefined;

type Make = (operator: AccessLogOperator, context: LogContext) => ReadValue;

const reasonNames: ReadonlySet<string> = new Set(reasons);
const transportFates: ReadonlySet<Fate> = new Set(['connect_failure', 'connection_lost', 'tls_handshake_failed', 'tls_peer_not_allowed']);

const plain =
  (read: ReadValue): Make =>
  () =>
    read;

const portStart = (address: string): number => address.lastIndexOf(':');
const withoutPort = (address: string | undefined): string | undefined =>
  address === undefined || portStart(address) < 0 ? address : address.slice(0, portStart(address));
const portOf = (address: string | undefined): number | undefined =>
  address === undefined || portStart(address) < 0 ? undefined : Number(address.slice(portStart(address) + 1));

const joined = (names: readonly string[] | undefined): string | undefined =>
  names === undefined || names.length === 0 ? undefined : names.join(',');

const time =
  (at: (call: EndedCall, context: LogContext) => number): Make =>
  ({ form }, context) => {
    if (form !== undefined) return (call) => formatTime(form, at(call, context));
    const iso = isoTimes();
    return (call) => iso(at(call, context));
  };

const requestHeader: Make = ({ header = '', otherHeader }) => {
  const one = (name: string): ReadValue => {
    if (name === ':path') return (call) => (call.path === '' ? undefined : decodeHeader(call.path));
    return (call) => {
      const value = call.header(name);
      return value === undefined ? undefined : decodeHeader(value);
    };
  };
  const first = one(header);
  if (otherHeader === undefined) return first;
  const second = one(otherHeader);
  return (call) => first(call) ?? second(call);
};

/** Headers of an answer have left when its call ends; these are known all the same. */
const answerHeaders: Readonly<Record<string, ReadValue>> = {
  ':status': (call) => (call.httpStatus === 0 ? undefined : call.httpStatus),
  'grpc-status': (call) => (call.httpStatus === 0 ? undefined : call.grpcStatus),
  'grpc-message': (call) => call.replyMessage,
  'x-outrider-reason': (call) => (call.httpStatus !== 0 && reasonNames.has(call.fate) ? call.fate : undefined),
};

const answerHeader: Make = ({ header = '', otherHeader = '' }) => {
  const of = (name: string): ReadValue => (Object.hasOwn(answerHeaders, name) ? (answerHeaders[name] as ReadValue) : () => undefined);
  const [first, second] = [of(header), of(otherHeader)];
  return (call) => first(call) ?? second(call);
};

/** As Envoy writes them, which is not how gRPC does in one case: `Canceled`. */
const camelStatus = (status: number): string => {
  const name = statusName(status);
  if (name === 'OK') return name;
  if (name === 'CANCELLED') return 'Canceled';
  return name.toLowerCase().replaceAll(/(?:^|_)([a-z])/g, (_match, letter: string) => letter.toUpperCase());
};

const status: Make = ({ form }) => {
  if (form === 'NUMBER') return (call) => call.grpcStatus;
  return form === 'SNAKE_STRING' ? (call) => statusName(call.grpcStatus) : (call) => camelStatus(call.grpcStatus);
};

const remoteAddress = plain((call) => call.peerAddress);
const remoteIp = plain((call) => withoutPort(call.peerAddress));
const remotePort = plain((call) => portOf(call.peerAddress));
const upstreamAddress = plain((call) => call.endpoint);
const cluster = plain((call) => call.cluster);

const makers: Readonly<Record<AccessLogOperatorName, Make>> = {
  START_TIME: time((call) => call.startedAtMs),
  EMIT_TIME: time((_call, context) => context.wallNow()),
  REQ: requestHeader,
  REQUEST_HEADER: requestHeader,
  RESP: answerHeader,
  RESPONSE_HEADER: answerHeader,
  TRAILER: answerHeader,
  RESPONSE_TRAILER: answerHeader,
  PROTOCOL: plain(() => 'HTTP/2'),
  UPSTREAM_PROTOCOL: plain((call) => (call.endpoint === undefined ? undefined : 'HTTP/2')),
  RESPONSE_CODE: plain((call) => call.httpStatus),
  RESPONSE_CODE_DETAILS: plain(responseCodeDetails),
  RESPONSE_FLAGS: plain((call) => responseFlagsText(call, false)),
  RESPONSE_FLAGS_LONG: plain((call) => responseFlagsText(call, true)),
  GRPC_STATUS: status,
  GRPC_STATUS_NUMBER: plain((call) => call.grpcStatus),
  BYTES_RECEIVED: plain((call) => call.bytesReceived),
  BYTES_SENT: plain((call) => call.bytesSent),
  DURATION: plain((call) => Math.max(Math.floor(call.durationMs), 0)),
  ROUTE_NAME: plain((call) => call.routeName),
  UPSTREAM_HOST: upstreamAddress,
  UPSTREAM_REMOTE_ADDRESS: upstreamAddress,
  UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: plain((call) => withoutPort(call.endpoint)),
  UPSTREAM_REMOTE_PORT: plain((call) => portOf(call.endpoint)),
  UPSTREAM_CLUSTER: cluster,
  UPSTREAM_CLUSTER_RAW: cluster,
  UPSTREAM_REQUEST_ATTEMPT_COUNT: plain((call) => call.attempts),
  UPSTREAM_TRANSPORT_FAILURE_REASON: plain((call) => (transportFates.has(call.fate) ? call.replyMessage : undefined)),
  DOWNSTREAM_REMOTE_ADDRESS: remoteAddress,
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: remoteIp,
  DOWNSTREAM_REMOTE_PORT: remotePort,
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: remoteAddress,
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: remoteIp,
  DOWNSTREAM_DIRECT_REMOTE_PORT: remotePort,
  DOWNSTREAM_PEER_URI_SAN: plain((call) => joined(call.peerIdentity?.uriSans)),
  DOWNSTREAM_PEER_DNS_SAN: plain((call) => joined(call.peerIdentity?.dnsSans)),
  DOWNSTREAM_PEER_IP_SAN: plain((call) => joined(call.peerIdentity?.ipSans)),
  DOWNSTREAM_PEER_SUBJECT: plain((call) => call.peerIdentity?.subject),
  DOWNSTREAM_PEER_SERIAL: plain((call) => call.peerIdentity?.serial),
  DOWNSTREAM_PEER_FINGERPRINT_256: plain((call) => call.peerIdentity?.fingerprint256),
  REQUESTED_SERVER_NAME: plain((call) => call.requestedServerName),
  TRACE_ID: plain((call) => call.traceId),
  SPAN_ID: plain((call) => call.spanId),
  HOSTNAME:
    (_operator, { hostname }) =>
    () =>
      hostname,
  DIRECTION: plain((call) => call.direction),
  FATE: plain((call) => call.fate),
  MESSAGE: plain((call) => call.replyMessage),
  ROUTE_LOCATION: plain((call) => call.routeLocation),
  SERVICE_NAME:
    (_operator, { serviceName }) =>
    () =>
      serviceName,
};

/** What an operator of a format reads of each call, cut to its length. */
export const readerOf = (operator: AccessLogOperator, context: LogContext): ReadValue => {
  const { mostCharacters } = operator;
  const read = makers[operator.name](operator, context);
  return (call) => {
    const value = read(call);
    if (value === '') return undefined;
    if (typeof value === 'string') return cut(value, mostCharacters);
    return value === undefined || mostCharacters === undefined ? value : cut(String(value), mostCharacters);
  };
};
