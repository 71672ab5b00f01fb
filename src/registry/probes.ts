import { Agent as PlainAgent, request as plainRequest } from 'node:http';
import { Agent as SecureAgent, request as secureRequest } from 'node:https';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { CheckDefinition, CheckStatus } from './definitions.ts';
import { longestOutput } from './limits.ts';

export interface ProbeResult {
  readonly status: CheckStatus;
  readonly output: string;
}

const passing = (output: string): ProbeResult => ({ status: 'passing', output });
const critical = (output: string): ProbeResult => ({ status: 'critical', output });

/** Consul's ten seconds, or the interval where that is shorter. */
const usualTimeoutMs = 10_000;

const hostAndPort = (target: string): { readonly host: string; readonly port: number } => {
  const colon = target.lastIndexOf(':');
  return { host: target.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(target.slice(colon + 1)) };
};

const tlsOptions = ({ tlsServerName, tlsSkipVerify }: CheckDefinition) => ({
  rejectUnauthorized: !tlsSkipVerify,
  ...(tlsServerName === '' ? {} : { servername: tlsServerName }),
});

const probeTcp = (check: CheckDefinition, signal: AbortSignal): Promise<ProbeResult> =>
  new Promise((resolve) => {
    const { tcp } = check;
    const target = hostAndPort(tcp);
    const socket = check.tcpUseTls ? connectTls({ ...target, ...tlsOptions(check) }) : connect(target);
    const end = (result: ProbeResult): void => {
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      resolve(result);
    };
    const onAbort = (): void => end(critical(`dial tcp ${tcp}: i/o timeout`));
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once(check.tcpUseTls ? 'secureConnect' : 'connect', () => end(passing(`TCP connect ${tcp}: Success`)));
    socket.on('error', (error) => end(critical(`dial tcp ${tcp}: ${error.message}`)));
  });

/** 2xx is passing, 429 warning, everything else critical. Redirects are not followed: what is asked for is what is checked. */
const probeHttp = (check: CheckDefinition, signal: AbortSignal): Promise<ProbeResult> =>
  new Promise((resolve) => {
    const { http, header, body } = check;
    const method = check.method === '' ? 'GET' : check.method;
    const isSecure = http.startsWith('https:');
    const agent = isSecure ? new SecureAgent(tlsOptions(check)) : new PlainAgent();
    const end = (result: ProbeResult): void => {
      agent.destroy();
      resolve(result);
    };
    const failed = (error: Error): void => end(critical(`${method} ${JSON.stringify(http)}: ${error.message}`));
    try {
      const request = (isSecure ? secureRequest : plainRequest)(http, {
        method,
        agent,
        signal,
        headers: { 'user-agent': 'Consul Health Check', accept: 'text/plain, text/*, */*', ...(header as Record<string, string[]>) },
      });
      request.on('error', failed);
      request.on('response', (response) => {
        let text = '';
        const finish = (): void => {
          const { statusCode: code = 0, statusMessage = '' } = response;
          const output = `HTTP ${method} ${http}: ${code} ${statusMessage} Output: ${text}`;
          request.destroy();
          end({ status: code >= 200 && code < 300 ? 'passing' : code === 429 ? 'warning' : 'critical', output });
        };
        response.setEncoding('utf8');
        response.on('error', failed);
        response.on('data', (chunk: string) => {
          text = (text + chunk).slice(0, longestOutput);
          if (text.length === longestOutput) finish();
        });
        response.on('end', finish);
      });
      request.end(body);
    } catch (error) {
      failed(error instanceof Error ? error : new Error(String(error)));
    }
  });

const checkPath = '/grpc.health.v1.Health/Check';

/** `HealthCheckRequest { service = 1 }`. */
const encodeRequest = (service: string): Buffer => {
  const name = Buffer.from(service);
  return name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([0x0a, name.length]), name]);
};

/** `HealthCheckResponse { status = 1 }`. */
const decodeStatus = (message: Buffer): number => (message[0] === 0x08 ? (message[1] ?? 0) : 0);
const servingStatuses = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'];

const probeGrpc = async (check: CheckDefinition, signal: AbortSignal): Promise<ProbeResult> => {
  const slash = check.grpc.indexOf('/');
  const [target, service] = slash < 0 ? [check.grpc, ''] : [check.grpc.slice(0, slash), check.grpc.slice(slash + 1, slash + 101)];
  // Loaded by the first check of this kind: most registries never see one.
  const { Client, credentials, Metadata, status } = await import('@grpc/grpc-js');
  const secure = credentials.createSsl(null, null, null, {
    rejectUnauthorized: !check.tlsSkipVerify,
    ...(check.tlsSkipVerify ? { checkServerIdentity: () => undefined } : {}),
  });
  const client = new Client(target, check.grpcUseTls ? secure : credentials.createInsecure(), {
    ...(check.tlsServerName === '' ? {} : { 'grpc.ssl_target_name_override': check.tlsServerName }),
    'grpc.enable_retries': 0,
    'grpc.use_local_subchannel_pool': 1,
  });
  return new Promise((resolve) => {
    const call = client.makeUnaryRequest(checkPath, encodeRequest, decodeStatus, service, new Metadata(), (error, answer) => {
      signal.removeEventListener('abort', onAbort);
      client.close();
      if (error !== null) {
        const name = status[error.code] ?? String(error.code);
        resolve(critical(`gRPC check ${check.grpc}: rpc error: code = ${name} desc = ${error.details}`));
      } else if (answer === 1) resolve(passing(`gRPC check ${check.grpc}: success`));
      else resolve(critical(`gRPC ${check.grpc} serving status: ${servingStatuses[answer ?? 0] ?? answer}`));
    });
    const onAbort = (): void => call.cancel();
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) call.cancel();
  });
};

/** Milliseconds that one probe of the check may take. */
export const timeoutOf = ({ timeoutMs, intervalMs }: CheckDefinition): number =>
  timeoutMs > 0 ? timeoutMs : Math.min(usualTimeoutMs, intervalMs);

/** Looks once. Never rejects; ends when `signal` does. */
export const probe = async (check: CheckDefinition, signal: AbortSignal): Promise<ProbeResult> => {
  if (check.tcp !== '') return probeTcp(check, signal);
  return check.http !== '' ? probeHttp(check, signal) : probeGrpc(check, signal);
};
