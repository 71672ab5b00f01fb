import assert from 'node:assert/strict';
import type net from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import type { VirtualClock } from '../../src/core/index.ts';
import { okTrailers, responseFields } from '../http2/http2-bench.ts';
import { END_HEADERS, END_STREAM, PADDED, type RawFrame, RawPeer, Type } from '../http2/raw-peer.ts';
import { atEnd } from '../mesh/at-end.ts';
import { indent, MeshCertificates, startSidecar, type TestSidecar } from '../mesh/mesh.ts';
import { answerOk, message, startTcp, startUpstream } from '../mesh/upstream.ts';

/** What an upstream does, frame by frame. */
export interface Script {
  /** Of its first SETTINGS frame, which `undefined` leaves out. */
  readonly settings?: readonly (readonly [id: number, value: number])[] | undefined;
  /** A connection is there, and our SETTINGS are on their way. */
  readonly onConnection?: (peer: RawPeer, index: number) => void;
  /** The headers of a request; `index` counts the connections. */
  readonly onRequest?: (peer: RawPeer, id: number, index: number) => void;
  readonly onFrame?: (peer: RawPeer, frame: RawFrame, index: number) => void;
}

export interface ScriptedUpstream {
  readonly address: string;
  readonly peers: readonly RawPeer[];
}

export const maxConcurrentStreams = 3;
export const initialWindowSize = 4;

/** Response headers, one message, trailers: what an honest service says. */
export const answer = (peer: RawPeer, id: number, contents = 'pong'): void => {
  peer.headers(id, responseFields, END_HEADERS);
  peer.data(id, message(contents));
  peer.headers(id, okTrailers, END_HEADERS | END_STREAM);
};

export const goAway = (peer: RawPeer, lastStreamId: number, code = 0): void => {
  const payload = Buffer.alloc(8);
  payload.writeUInt32BE(lastStreamId, 0);
  payload.writeUInt32BE(code, 4);
  peer.send(Type.GOAWAY, 0, 0, payload);
};

/** DATA with as much padding as one wants, up to 255 bytes. */
export const paddedData = (peer: RawPeer, id: number, bytes: Uint8Array, padding: number): void =>
  peer.send(Type.DATA, PADDED, id, Buffer.concat([Buffer.from([padding]), bytes, Buffer.alloc(padding)]));

/** A server of raw frames on loopback that acknowledges nothing and answers nothing unless the script does. */
export const startScripted = async (t: TestContext, script: Script, pair?: tls.SecureContextOptions): Promise<ScriptedUpstream> => {
  const peers: RawPeer[] = [];
  const port = await startTcp(t, (socket) => {
    peers.push(play(pair === undefined ? socket : secure(socket, pair), script, peers.length));
  });
  return { address: `127.0.0.1:${port}`, peers };
};

/** The server's side of TLS on a socket that was accepted. */
export const secure = (socket: net.Socket, pair: tls.SecureContextOptions, protocols: string[] = ['h2']): tls.TLSSocket => {
  const secured = new tls.TLSSocket(socket, { isServer: true, secureContext: tls.createSecureContext(pair), ALPNProtocols: protocols });
  secured.on('error', () => {});
  return secured;
};

const play = (socket: net.Socket, script: Script, index: number): RawPeer => {
  let skipped = 0;
  let heard = 0;
  const peer = new RawPeer(socket, false, (bytes) => {
    // The preface is no frame.
    const skip = Math.min(24 - skipped, bytes.length);
    skipped += skip;
    return bytes.subarray(skip);
  });
  socket.setNoDelay(true);
  socket.cork();
  if (!('settings' in script) || script.settings !== undefined) peer.settings(script.settings ?? []);
  script.onConnection?.(peer, index);
  socket.uncork();
  // After the peer's own listener, which has read the frames by now.
  socket.on('data', () => {
    for (let frame = peer.frames[heard]; frame !== undefined; frame = peer.frames[++heard]) {
      script.onFrame?.(peer, frame, index);
      if (frame.type === Type.HEADERS) script.onRequest?.(peer, frame.id, index);
    }
  });
  return peer;
};

/** How a call of grpc-js ended. */
export interface Outcome {
  readonly code: number;
  readonly details: string;
  /** `x-outrider-reason`. */
  readonly reason: string | undefined;
  readonly reply: string | undefined;
}

const bytes = (value: Buffer): Buffer => value;
const path = '/acme.Echo/Call';

const outcomeOf = (error: ServiceError | null, reply: Buffer | undefined): Outcome => ({
  code: error?.code ?? 0,
  details: error?.details ?? '',
  reason: error?.metadata.get('x-outrider-reason')[0]?.toString(),
  reply: reply?.toString(),
});

/** A client of grpc-js at the outbound listener, without retries of its own. */
export class GrpcCaller {
  readonly client: Client;

  constructor(t: TestContext, port: number, cluster: string) {
    this.client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
      'grpc.default_authority': cluster,
      'grpc.enable_retries': 0,
      'grpc.use_local_subchannel_pool': 1,
    });
    atEnd(t, () => this.client.close());
  }

  call(contents: string | Buffer = 'ping'): Promise<Outcome> {
    return new Promise((resolve) => {
      this.client.makeUnaryRequest(path, bytes, bytes, Buffer.from(contents), new Metadata(), (error, reply) =>
        resolve(outcomeOf(error, reply)),
      );
    });
  }

  /** A request of many messages that the test does not end: what the server says ends it. */
  openRequest(contents = 'ping'): Promise<Outcome> {
    return new Promise((resolve) => {
      const call = this.client.makeClientStreamRequest(path, bytes, bytes, (error, reply) => resolve(outcomeOf(error, reply)));
      call.write(Buffer.from(contents));
    });
  }

  /** An answer of many messages: those that came, and the end. */
  readAnswer(): Promise<Outcome & { readonly messages: readonly string[] }> {
    return new Promise((resolve) => {
      const messages: string[] = [];
      const call = this.client.makeServerStreamRequest(path, bytes, bytes, Buffer.from('ping'));
      call.on('data', (part: Buffer) => messages.push(part.toString()));
      call.on('error', (error: ServiceError) => resolve({ ...outcomeOf(error, undefined), messages }));
      call.on('end', () => resolve({ code: 0, details: '', reason: undefined, reply: undefined, messages }));
    });
  }
}

export interface HostileMesh {
  readonly outrider: TestSidecar;
  /** Calls the hostile cluster `echo`. */
  readonly caller: GrpcCaller;
  /** A call to the cluster `friend` beside it, whose service is honest, is answered. */
  friendAnswers(): Promise<void>;
  /** A counter or gauge of the hostile cluster. */
  stat(name: string): number;
}

export interface HostileOptions {
  /** Further keys of the hostile cluster, as YAML; plain text unless they say `tls:`. */
  readonly cluster?: string;
  /** Further keys of its route, as YAML. */
  readonly route?: string;
  readonly clock?: VirtualClock;
  /** Of the sidecar. With them the hostile cluster is reached by TLS. */
  readonly certificates?: Readonly<Record<string, string>>;
}

/** One sidecar with a cluster `echo` at `address` and an honest one, `friend`. */
export const throughSidecar = async (t: TestContext, address: string, options: HostileOptions = {}): Promise<HostileMesh> => {
  const { cluster = '', route, ...rest } = options;
  const friend = await startUpstream(t, (call) => answerOk(call));
  const plain = '    tls: { mode: disable }';
  const routes =
    route === undefined
      ? ''
      : `routes:\n  - match: { headers: [{ name: ":authority", string_match: { exact: echo } }], prefix: / }\n    route:\n      cluster: echo\n${indent(route, 6)}\n`;
  const policies = `${routes}clusters:
  echo:
    endpoints: ["${address}"]
${options.certificates === undefined ? plain : ''}
${cluster === '' ? '' : indent(cluster, 4)}
  friend:
    endpoints: ["${friend.address}"]
${plain}
`;
  const outrider = await startSidecar(t, { ...rest, policies });
  const neighbour = new GrpcCaller(t, outrider.outboundPort, 'friend');
  return {
    outrider,
    caller: new GrpcCaller(t, outrider.outboundPort, 'echo'),
    friendAnswers: async () => {
      assert.deepEqual(await neighbour.call(), { code: 0, details: '', reason: undefined, reply: 'pong' });
    },
    stat: (name) => outrider.stat(`cluster.echo.${name}`),
  };
};

/** A scripted upstream, and a sidecar before it. */
export type Hostile = (
  t: TestContext,
  script: Script,
  options?: HostileOptions,
) => Promise<HostileMesh & { readonly upstream: ScriptedUpstream }>;

const hostileInPlainText: Hostile = async (t, script, options) => {
  const upstream = await startScripted(t, script);
  return { upstream, ...(await throughSidecar(t, upstream.address, options)) };
};

const hostileBehindTls: Hostile = async (t, script, options) => {
  const { pair, certificates } = await identities(t);
  const upstream = await startScripted(t, script, pair);
  return { upstream, ...(await throughSidecar(t, upstream.address, { ...options, certificates })) };
};

/** Of one authority: the hostile upstream's certificate, which is as good as any, and the sidecar's. */
export const identities = async (t: TestContext) => {
  const authority = await MeshCertificates.create(t);
  const { certPem, keyPem } = await authority.pair('echo');
  return { pair: { cert: certPem, key: keyPem }, certificates: await authority.issue('caller') };
};

/** Registers the test twice: TLS cuts the bytes otherwise, ends otherwise, and must hide nothing. */
export const overPlainAndTls = (name: string, body: (t: TestContext, hostile: Hostile) => Promise<void>): void => {
  test(`${name} (plain text)`, (t) => body(t, hostileInPlainText));
  test(`${name} (TLS)`, (t) => body(t, hostileBehindTls));
};
