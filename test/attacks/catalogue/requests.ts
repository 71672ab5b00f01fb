import type { Fields } from '../../http2/http2-bench.ts';
import { END_HEADERS, END_STREAM, frame, literals, Type } from '../../http2/raw-peer.ts';
import type { Attacker } from './attacker.ts';
import type { Method } from './service.ts';

/** Request fields of a call to the service behind the listener. */
export const fieldsFor = ({ target }: Attacker, method: Method, more: Fields = []): Fields => [
  [':method', 'POST'],
  [':scheme', target.tls === undefined ? 'http' : 'https'],
  [':path', `/acme.Echo/${method}`],
  [':authority', target.authority],
  ['content-type', 'application/grpc'],
  ['te', 'trailers'],
  ...more,
];

export const blockFor = (attacker: Attacker, method: Method, more: Fields = []): Buffer => literals(fieldsFor(attacker, method, more));

/** A gRPC message with its prefix. */
export const message = (contents: string | Uint8Array): Buffer => {
  const bytes = Buffer.from(contents);
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
};

export const open = END_HEADERS;
export const whole = END_HEADERS | END_STREAM;

/** `count` streams from `first` on, each made of what `of` says, as one buffer: nothing is computed while it is sent. */
export const streams = (count: number, of: (id: number) => readonly Buffer[], first = 1): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => of(first + 2 * i)).flat());

export const headersFrame = (id: number, block: Buffer, flags: number = whole): Buffer => frame(Type.HEADERS, flags, id, block);

/** Fields `x-0`, `x-1` ... of so many bytes each. */
export const manyFields = (count: number, bytes = 1): Fields =>
  Array.from({ length: count }, (_, i) => [`x-${i}`, 'v'.repeat(bytes)] as const);
