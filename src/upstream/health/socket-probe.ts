import net from 'node:net';
import tls from 'node:tls';
import { Deadline, formatDurationMs } from '../../core/index.ts';
import { clientConnectOptions, verifyServer } from '../../identity/index.ts';
import type { ClusterPolicy } from '../../policy/index.ts';
import type { Endpoint } from '../endpoint.ts';
import { expectedServer } from '../expected-server.ts';
import type { UpstreamContext } from '../upstream-context.ts';
import type { OnVerdict, Probe, ProbeVerdict } from './probe.ts';

/** What is said on the connection of one check. */
export interface Dialogue {
  readonly request: Uint8Array;
  /** Reads on; a verdict ends the check. `undefined`: more is needed. */
  read(bytes: Uint8Array): ProbeVerdict | undefined;
  /** The connection is there, and the request is sent. */
  onSent(): ProbeVerdict | undefined;
}

export interface SocketProbeOptions {
  readonly endpoint: Endpoint;
  readonly policy: ClusterPolicy;
  readonly context: UpstreamContext;
  readonly timeoutMs: number;
  /** What is offered in the handshake. */
  readonly alpn: 'h2' | 'http/1.1';
  readonly createDialogue: () => Dialogue;
  readonly onVerdict: OnVerdict;
}

const passing: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE']);

/** Checks over a connection of their own, each of which ends with its check; with the cluster's TLS. Its `Deadline` is its own time limit. */
export class SocketProbe implements Probe {
  readonly #deadline = new Deadline(this);
  readonly #options: SocketProbeOptions;
  #socket: net.Socket | undefined = undefined;

  constructor(options: SocketProbeOptions) {
    this.#options = options;
  }

  begin(): void {
    if (this.#socket !== undefined) return;
    const { context, endpoint, policy, timeoutMs } = this.#options;
    if (context.sockets?.take() === false) {
      this.#options.onVerdict({ kind: 'unlearned', why: 'the sidecar has no file descriptor left for a connection' });
      return;
    }
    const { clock, wheel } = context.engine;
    wheel.arm(this.#deadline, clock.now() + timeoutMs);
    const { host, port } = endpoint.address;
    if (policy.tls.mode === 'disable') {
      const socket = net.connect({ host, port, noDelay: true });
      this.#adopt(socket);
      socket.once('connect', () => this.#converse(socket));
    } else this.#beginTls(host, port);
  }

  cancel(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#options.context.engine.wheel.cancel(this.#deadline);
    socket?.destroy();
  }

  expire(): void {
    const { context, timeoutMs } = this.#options;
    context.engine.tick();
    const connected = this.#socket?.connecting === false;
    this.#end({
      kind: 'failed',
      failure: 'network_timeout',
      why: `no ${connected ? 'answer' : 'connection'} within ${formatDurationMs(timeoutMs)}`,
    });
  }

  #beginTls(host: string, port: number): void {
    const { alpn, context, endpoint, policy } = this.#options;
    const identity = context.identity?.value;
    if (identity === undefined) {
      context.sockets?.give();
      this.#end({ kind: 'failed', failure: 'network', why: 'this cluster is called with TLS, and the sidecar has no certificate' });
      return;
    }
    const { service = policy.serviceName } = endpoint.address;
    const serverName = policy.tls.sni === '' ? service : policy.tls.sni;
    const options = { ...clientConnectOptions(identity, serverName, context.tlsMinimum), ALPNProtocols: [alpn], host, port };
    const socket = tls.connect(options);
    this.#adopt(socket);
    socket.once('secureConnect', () => {
      if (this.#socket !== socket) return;
      const verdict = verifyServer(socket, {
        ...expectedServer(policy, service, context, identity),
        alpn: alpn === 'h2' ? 'h2' : 'http/1.1 or none',
      });
      if (verdict.ok) this.#converse(socket);
      else this.#end({ kind: 'failed', failure: 'network', why: verdict.why });
    });
  }

  #adopt(socket: net.Socket): void {
    this.#socket = socket;
    const { context } = this.#options;
    socket.on('error', (error) => {
      if (this.#socket !== socket) return;
      context.engine.tick();
      const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
      if (passing.has(code)) this.#end({ kind: 'unlearned', why: 'the sidecar has no file descriptor left for a connection' });
      else this.#end({ kind: 'failed', failure: 'network', why: error.message === '' ? code : error.message });
    });
    socket.on('close', () => {
      context.sockets?.give();
      if (this.#socket !== socket) return;
      context.engine.tick();
      this.#end({ kind: 'failed', failure: 'network', why: 'the endpoint closed the connection' });
    });
  }

  #converse(socket: net.Socket): void {
    if (this.#socket !== socket) return;
    this.#options.context.engine.tick();
    const dialogue = this.#options.createDialogue();
    if (dialogue.request.length > 0) socket.write(dialogue.request);
    const verdict = dialogue.onSent();
    if (verdict !== undefined) {
      this.#end(verdict);
      return;
    }
    socket.on('data', (bytes: Buffer) => {
      if (this.#socket !== socket) return;
      this.#options.context.engine.tick();
      const found = dialogue.read(bytes);
      if (found !== undefined) this.#end(found);
    });
  }

  #end(verdict: ProbeVerdict): void {
    this.cancel();
    this.#options.onVerdict(verdict);
  }
}
