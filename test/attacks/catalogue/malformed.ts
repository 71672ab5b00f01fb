import type { Fields } from '../../http2/http2-bench.ts';
import { END_HEADERS, END_STREAM, frame, literals, Type } from '../../http2/raw-peer.ts';
import { type Attack, Code, goAway, reset, type Seen, served, type Variant } from './attack.ts';
import type { AttackPeer } from './attack-peer.ts';
import type { Attacker } from './attacker.ts';
import { blockFor, fieldsFor, open, whole } from './requests.ts';

const messagingError = ['http2.rx_messaging_error'];

/** Each of these calls on a stream of its own; the connection must live. */
const onStreams = async (attacker: Attacker, calls: readonly ((peer: AttackPeer, id: number) => void)[]): Promise<Seen> => {
  const peer = await attacker.open();
  for (const [i, call] of calls.entries()) {
    peer.calls.add(1 + 2 * i);
    call(peer, 1 + 2 * i);
  }
  await peer.answered();
  return await peer.outcome();
};

const withFields =
  (of: (fields: Fields) => Fields) =>
  (attacker: Attacker) =>
  (peer: AttackPeer, id: number): void =>
    peer.headers(id, literals(of(fieldsFor(attacker, 'Call'))), whole);

type Malformed = readonly (readonly [name: string, (attacker: Attacker) => (peer: AttackPeer, id: number) => void])[];

const replaced = (name: string, value: string) =>
  withFields((fields) => fields.map((field) => (field[0] === name ? [name, value] : field)));
const added = (name: string, value: string) => withFields((fields) => [...fields, [name, value]]);
const without = (name: string) => withFields((fields) => fields.filter((field) => field[0] !== name));

const malformed: Malformed = [
  ['CR in a value', added('x-a', 'one\rtwo')],
  ['LF in a value', added('x-a', 'one\ntwo')],
  ['NUL in a value', added('x-a', 'one\0two')],
  ['CR/LF in a name', added('x-a\r\nx-b', '1')],
  ['LF in :path', replaced(':path', '/acme.Echo/Call\nx')],
  ['LF in :authority', replaced(':authority', 'echo\nx')],
  ['an upper-case name', added('X-A', '1')],
  ['an empty name', added('', '1')],
  ['a name with a space', added('x a', '1')],
  ['a leading space in a value', added('x-a', ' 1')],
  ['a trailing tab in a value', added('x-a', '1\t')],
  ['a pseudo-header behind a field', withFields((fields) => [['x-a', '1'], ...fields])],
  ['two of :path', added(':path', '/acme.Echo/Call')],
  ['two of :method', withFields((fields) => [[':method', 'POST'], ...fields])],
  ['an unknown pseudo-header', withFields((fields) => [[':other', '1'], ...fields])],
  [':status in a request', withFields((fields) => [[':status', '200'], ...fields])],
  [':protocol', withFields((fields) => [[':protocol', 'websocket'], ...fields])],
  ['no :path', without(':path')],
  ['no :method', without(':method')],
  ['no :scheme', without(':scheme')],
  ['an empty :path', replaced(':path', '')],
  ['connection', added('connection', 'close')],
  ['keep-alive', added('keep-alive', 'timeout=5')],
  ['proxy-connection', added('proxy-connection', 'keep-alive')],
  ['transfer-encoding', added('transfer-encoding', 'chunked')],
  ['upgrade', added('upgrade', 'h2c')],
  ['te other than trailers', replaced('te', 'gzip')],
  ['content-length that is no number', added('content-length', '-1')],
  ['two of content-length', withFields((fields) => [...fields, ['content-length', '5'], ['content-length', '6']])],
];

const body =
  (length: string, bytes: Buffer, endStream: boolean, trailers?: Fields) =>
  (attacker: Attacker) =>
  (peer: AttackPeer, id: number): void => {
    peer.headers(id, literals([...fieldsFor(attacker, 'Call'), ...(length === '' ? [] : [['content-length', length] as const])]), open);
    peer.data(id, bytes, endStream);
    if (trailers !== undefined) peer.headers(id, literals(trailers), whole);
  };

const late: Malformed = [
  ['more DATA than content-length', body('3', Buffer.from('four'), true)],
  ['less DATA than content-length', body('9', Buffer.from('four'), true)],
  ['a pseudo-header in trailers', body('', Buffer.from('x'), false, [[':path', '/']])],
  ['LF in trailers', body('', Buffer.from('x'), false, [['x-a', 'one\ntwo']])],
  ['an upper-case name in trailers', body('', Buffer.from('x'), false, [['X-A', '1']])],
  [
    'trailers that do not end the stream',
    (attacker) => (peer, id) => {
      peer.headers(id, blockFor(attacker, 'Call'), open);
      peer.headers(id, literals([['x-a', '1']]), END_HEADERS);
    },
  ],
];

const asVariant = (name: string, all: Malformed): Variant => ({
  name: `${name}: ${all.map(([one]) => one).join(', ')}`,
  answers: [reset(Code.protocolError)],
  counters: messagingError,
  send: (attacker) =>
    onStreams(
      attacker,
      all.map(([, of]) => of(attacker)),
    ),
});

export const malformedRequests: Attack = {
  name: 'malformed requests',
  known: 'request smuggling',
  comparedWith: 'none',
  variants: [asVariant('at once', malformed), asVariant('only later', late)],
};

export const authorityAndHost: Attack = {
  name: ':authority beside host',
  known: 'request smuggling',
  comparedWith: 'none',
  variants: [
    {
      name: 'a differing host, which loses',
      answers: [served],
      counters: [],
      send: (attacker) => onStreams(attacker, [added('host', 'elsewhere.example')(attacker)]),
    },
    asVariant('more than one of either', [
      ['two of :authority', withFields((fields) => [[':authority', 'echo'], ...fields])],
      ['two of host', withFields((fields) => [...fields, ['host', 'echo'], ['host', 'other']])],
      ['two of host without :authority', withFields((fields) => [...fields.filter(notAuthority), ['host', 'echo'], ['host', 'echo']])],
    ]),
  ],
};

const notAuthority = ([name]: readonly [string, string]): boolean => name !== ':authority';

/** A connection error, each on a connection of its own. */
const onConnection = (name: string, code: number, debug: RegExp, of: (attacker: Attacker, peer: AttackPeer) => void): Variant => ({
  name,
  answers: [goAway(code, debug)],
  counters: ['http2.goaway_sent'],
  send: async (attacker) => {
    const peer = await attacker.open();
    of(attacker, peer);
    return await peer.outcome();
  },
});

export const streamIds: Attack = {
  name: 'tricks with stream ids and frames',
  known: 'RFC 9113 5.1.1',
  comparedWith: 'none',
  variants: [
    onConnection('an even id', Code.protocolError, /stream 2/, (attacker, peer) => peer.headers(2, blockFor(attacker, 'Call'))),
    onConnection('HEADERS on stream 0', Code.protocolError, /stream 0/, (attacker, peer) => peer.headers(0, blockFor(attacker, 'Call'))),
    onConnection('an id that goes back', Code.streamClosed, /closed stream/, (attacker, peer) => {
      peer.headers(9, blockFor(attacker, 'Hold'), open);
      peer.headers(3, blockFor(attacker, 'Hold'), open);
    }),
    onConnection('DATA on an idle stream', Code.protocolError, /idle/, (_attacker, peer) => peer.data(7, Buffer.from('x'))),
    onConnection('RST_STREAM on an idle stream', Code.protocolError, /idle/, (_attacker, peer) => peer.reset(7)),
    onConnection('PUSH_PROMISE', Code.protocolError, /PUSH_PROMISE/, (_attacker, peer) =>
      peer.send(Type.PUSH_PROMISE, END_HEADERS, 1, Buffer.alloc(4)),
    ),
    onConnection('a frame larger than allowed', Code.frameSizeError, /frame of/, (_attacker, peer) =>
      peer.write(frame(Type.PING, 0, 0, Buffer.alloc(20_000))),
    ),
    onConnection('a block that cannot be decoded', Code.compressionError, /decoded/, (_attacker, peer) =>
      peer.send(Type.HEADERS, END_HEADERS | END_STREAM, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff])),
    ),
  ],
};
