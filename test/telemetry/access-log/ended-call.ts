import { type EndedCall, MethodMetrics } from '../../../src/telemetry/index.ts';

/** What a test says of a call; headers by their lower-case names. */
export type CallFields = Partial<Omit<EndedCall, 'header'>> & { readonly headers?: Readonly<Record<string, string>> };

export const startedAtMs = Date.UTC(2026, 1, 3, 4, 5, 6, 789);

/** A call that went well, or whatever else a test says of it. */
export const endedCall = ({ headers = {}, ...fields }: CallFields = {}): EndedCall => {
  const own = { path: '/shop.Cart/Get', authority: 'cart', ...fields };
  const all: Readonly<Record<string, string>> = { ':method': 'POST', ':path': own.path, ':authority': own.authority, ...headers };
  return {
    direction: 'outbound',
    fate: 'ok',
    grpcStatus: 0,
    startedAtMs,
    durationMs: 12.7,
    metrics: new MethodMetrics('cart', '/shop.Cart/Get'),
    httpStatus: 200,
    upstreamHttpStatus: 200,
    routeName: 'cart-route',
    routeLocation: 'mesh.yaml:7',
    cluster: 'cart',
    endpoint: '10.0.0.4:50051',
    attempts: 1,
    retriesExhausted: false,
    bytesReceived: 10,
    bytesSent: 20,
    peerAddress: '127.0.0.1:40312',
    peerIdentity: undefined,
    requestedServerName: undefined,
    connectionLost: false,
    delayInjected: false,
    replyMessage: undefined,
    traceId: undefined,
    spanId: undefined,
    sampled: false,
    ...own,
    header: (name) => all[name],
  };
};
