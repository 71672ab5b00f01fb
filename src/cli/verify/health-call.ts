import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from 'node:http2';
import { isIP } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { type Clock, formatHostPort } from '../../core/index.ts';
import { decodeGrpcMessage, HealthResponses, healthCheckPath, healthRequest, type ServingStatus } from '../../grpc/index.ts';
import { describeHandshakeFailure } from '../../identity/index.ts';
import type { Address } from './address.ts';
import { type NetworkFailure, networkFailureOf } from './network-failure.ts';

/** How one `grpc.health.v1.Health/Check` went. */
export type HealthCallOutcome =
  | {
      readonly kind: 'answered';
      /** gRPC status. */
      readonly status: number;
      readonly message: string;
      /** `x-outrider-reason`, where the sidecar itself answered. */
      readonly reason: string | undefined;
      readonly serving: ServingStatus | undefined;
    }
  /** Something answered, and not as gRPC does. */
  | { readonly kind: 'not_grpc'; readonly why: string }
  | { readonly kind: 'unreachable'; readonly failure: NetworkFailure };

export interface HealthCallOptions {
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** `:authority`, by which an outbound listener chooses the cluster. */
  readonly authority: string;
  /** Absent: plain text. */
  readonly tls?: Pick<SecureContextOptions, 'ca' | 'cert' | 'key' | 'minVersion'>;
  readonly headers?: Readonly<Record<string, string>>;
}

const numberOf = (status: unknown): number => (typeof status === 'string' && /^\d{1,2}$/.test(status) ? Number(status) : -1);

/** Asks for the server as a whole. Never rejects; ends its connection. The deadline goes along as `grpc-timeout`. */
export const callHealth = (address: Address, options: HealthCallOptions): Promise<HealthCallOutcome> =>
  new Promise((resolve) => {
    const { timeoutMs, clock, authority, tls, headers = {} } = options;
    const url = `${tls === undefined ? 'http' : 'https'}://${formatHostPort(address)}`;
    const servername = isIP(authority) === 0 ? { servername: authority } : {};
    const session: ClientHttp2Session = connect(url, {
      ...(tls === undefined ? {} : { ...tls, ...servername, rejectUnauthorized: false, ALPNProtocols: ['h2'] }),
    });
    let connected = false;
    const end = (outcome: HealthCallOutcome): void => {
      timer.cancel();
      session.destroy();
      resolve(outcome);
    };
    // A little later than the deadline that the callee knows: its own answer says more.
    const timer = clock.setTimer(() => {
      const why = `no answer within ${timeoutMs / 1_000} s`;
      end(connected ? { kind: 'not_grpc', why } : { kind: 'unreachable', failure: { kind: 'out_of_reach', why } });
    }, timeoutMs + graceMs);
    const fail = (thrown: Error): void => {
      // A stream that waited for its connection hides what became of that.
      const error = thrown.cause instanceof Error ? thrown.cause : thrown;
      const failure = networkFailureOf(error);
      if (!connected && (tls === undefined || failure.kind !== 'broken')) end({ kind: 'unreachable', failure });
      else end({ kind: 'not_grpc', why: tls === undefined ? failure.why : describeHandshakeFailure(error, 'client').why });
    };
    session.on('connect', () => {
      connected = true;
    });
    session.on('error', fail);
    session.on('close', () => end({ kind: 'not_grpc', why: 'the connection was closed before an answer came' }));
    const stream = session.request({
      ':method': 'POST',
      ':path': healthCheckPath,
      ':scheme': tls === undefined ? 'http' : 'https',
      ':authority': authority,
      'content-type': 'application/grpc',
      te: 'trailers',
      'grpc-timeout': `${Math.round(timeoutMs)}m`,
      ...headers,
    });
    const responses = new HealthResponses();
    let answer: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    let serving: ServingStatus | undefined;
    stream.on('response', (received) => {
      answer = received;
    });
    stream.on('trailers', (received) => {
      trailers = received;
    });
    stream.on('data', (chunk: Buffer) => {
      const wrong = responses.read(chunk, 0, chunk.length, (status) => {
        serving = status;
      });
      if (wrong !== undefined) end({ kind: 'not_grpc', why: wrong });
    });
    stream.on('error', fail);
    stream.on('end', () => {
      const ending = { ...answer, ...trailers };
      const status = numberOf(ending['grpc-status']);
      const reason = ending['x-outrider-reason'];
      if (status < 0) return end({ kind: 'not_grpc', why: `HTTP ${String(answer[':status'] ?? 'without a status')}, and no grpc-status` });
      const message = decodeGrpcMessage(String(ending['grpc-message'] ?? ''));
      end({ kind: 'answered', status, message, reason: typeof reason === 'string' ? reason : undefined, serving });
    });
    stream.end(healthRequest(''));
  });

const graceMs = 1_000;
