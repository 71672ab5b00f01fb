/**
 * A sidecar between a client and a service that both speak HTTP/2 frame by frame: at its outbound listener in plain text, at its inbound
 * one over mutual TLS. Nothing in between tidies up what is sent, or what arrives.
 */
import assert from 'node:assert/strict';
import net from 'node:net';
import type { TestContext } from 'node:test';
import tls from 'node:tls';
import { type Script, type ScriptedUpstream, startScripted } from '../attacks/scripted-upstream.ts';
import { type Fields, requestFields } from '../http2/http2-bench.ts';
import { ACK, END_HEADERS, END_STREAM, type RawFrame, RawPeer, Type } from '../http2/raw-peer.ts';
import { atEnd } from './at-end.ts';
import { MeshCertificates, startSidecar, type TestSidecar } from './mesh.ts';
import { until } from './upstream.ts';

export const directions = ['outbound', 'inbound'] as const;
export type Direction = (typeof directions)[number];

export interface Between {
  readonly direction: Direction;
  readonly outrider: TestSidecar;
  readonly service: ScriptedUpstream;
  /** A client past its preface. Its SETTINGS are the first ones; window and frame size are the defaults of RFC 9113. */
  connect(settings?: readonly (readonly [id: number, value: number])[]): Promise<RawClient>;
  /** A counter of the listener's HTTP/2. */
  listenerStat(name: string): number;
  /** Requests that reached the service, over all of its connections. */
  arrived(): readonly Arrived[];
}

export interface Arrived {
  readonly peer: RawPeer;
  readonly frame: RawFrame;
  /** As they arrived, without the certificate that the sidecar vouches for. */
  readonly fields: Fields;
}

/** The answer to one request. */
export interface RawAnswer {
  readonly headers: Fields;
  /** Those of the end: the headers again where the answer has one block only. */
  readonly trailers: Fields;
  readonly trailersOnly: boolean;
  readonly body: Buffer;
}

export const fieldOf = (fields: Fields, name: string): string | undefined => fields.find(([other]) => other === name)?.[1];

/** A raw client that counts its streams. */
export class RawClient extends RawPeer {
  #nextId = 1;

  /** The id of a new stream. */
  get id(): number {
    const id = this.#nextId;
    this.#nextId += 2;
    return id;
  }

  /** A whole request, answered or not. */
  request(fields: Fields = requestFields, body?: Uint8Array): number {
    const { id } = this;
    this.headers(id, fields, body === undefined ? END_HEADERS | END_STREAM : END_HEADERS);
    if (body !== undefined) this.data(id, body, true);
    return id;
  }

  /** Waits for the end of the answer; fails where a reset comes in its place. */
  async answer(id: number): Promise<RawAnswer> {
    const ends = (): readonly RawFrame[] =>
      this.frames.filter((one) => one.id === id && (one.flags & END_STREAM) !== 0 && (one.type === Type.HEADERS || one.type === Type.DATA));
    const reset = (): boolean => this.seen(Type.RST_STREAM, id).some(({ payload }) => payload.readUInt32BE(0) !== 0);
    await until(() => this.ended || reset() || ends().length > 0, `the answer of stream ${id} (${this.goAwayText})`);
    assert.ok(!reset(), `stream ${id} was reset`);
    assert.ok(ends().length > 0, `the connection ended before the answer (${this.goAwayText})`);
    const blocks = this.seen(Type.HEADERS, id).map((one) => this.fieldList(one));
    return {
      headers: blocks[0] as Fields,
      trailers: blocks.at(-1) as Fields,
      trailersOnly: blocks.length === 1,
      body: Buffer.concat(this.seen(Type.DATA, id).map(({ payload }) => payload)),
    };
  }
}

const serviceName = 'orders';

/** Starts a sidecar before a service that does as the script says. */
export const between = async (t: TestContext, direction: Direction, script: Script): Promise<Between> => {
  const service = await startScripted(t, script);
  const { outrider, open } = await (direction === 'outbound' ? outbound(t, service) : inbound(t, service));
  return {
    direction,
    outrider,
    service,
    connect: async (settings) => {
      const socket = open();
      atEnd(t, () => socket.destroy());
      const client = new RawClient(socket);
      client.preface(settings);
      await client.next(Type.SETTINGS);
      client.send(Type.SETTINGS, ACK, 0);
      return client;
    },
    listenerStat: (name) => outrider.stat(`listener.${direction}.http2.${name}`),
    arrived: () =>
      service.peers.flatMap((peer) =>
        peer.seen(Type.HEADERS).map((frame) => ({
          peer,
          frame,
          fields: peer.fieldList(frame).filter(([name]) => name !== 'x-forwarded-client-cert'),
        })),
      ),
  };
};

const outbound = async (t: TestContext, { address }: ScriptedUpstream) => {
  const cluster = `endpoints: ["${address}"], tls: { mode: disable }, circuit_breakers: { consecutive_failures: 100000 }`;
  const outrider = await startSidecar(t, { policies: `clusters:\n  ${serviceName}: { ${cluster} }\n` });
  return { outrider, open: (): net.Socket => net.connect({ port: outrider.outboundPort, host: '127.0.0.1', noDelay: true }) };
};

const inbound = async (t: TestContext, { address }: ScriptedUpstream) => {
  const certificates = await MeshCertificates.create(t);
  const localService = Number(address.split(':')[1]);
  const outrider = await startSidecar(t, { name: serviceName, localService, certificates: await certificates.issue(serviceName) });
  const { certPem, keyPem } = await certificates.pair('caller');
  const client = { ca: certificates.authority.certPem, cert: certPem, key: keyPem, servername: serviceName, ALPNProtocols: ['h2'] };
  return { outrider, open: (): net.Socket => tls.connect({ ...client, port: outrider.inboundPort, host: '127.0.0.1' }).setNoDelay(true) };
};
