/** Messages that RFC 9113 8.1 to 8.3 calls malformed: for the engine alone, and for listeners and upstreams of a sidecar. */
import { type Fields, requestFields, responseFields } from './http2-bench.ts';
import { END_HEADERS, type RawPeer } from './raw-peer.ts';

/** The request of the other tests without one of its fields. */
export const requestWithout = (name: string): Fields => requestFields.filter(([other]) => other !== name);
/** And with further ones. */
export const requestPlus = (...more: Fields): Fields => [...requestFields, ...more];

/** What RFC 9113 8.3.1 and RFC 3986 do not let be a host and a port. */
const noAuthorities = [
  'orders@evil',
  'user:secret@orders',
  'or ders',
  'orders\t',
  'orders/shop',
  'orders?x',
  'orders#x',
  '"orders"',
  'orders\\',
  '\u00f6rders',
  '\x01',
];

/** Requests that no policy must ever see (RFC 9113 8.2, 8.3). */
export const malformedRequests: readonly (readonly [what: string, fields: Fields])[] = [
  ['an upper-case name', requestPlus(['X-A', 'b'])],
  ['an empty name', requestPlus(['', 'b'])],
  ['a name with a blank', requestPlus(['x a', 'b'])],
  ['a name with a colon', requestPlus(['x:a', 'b'])],
  ['a name with bytes above 127', requestPlus(['x\u00e9', 'b'])],
  ['CR in a value', requestPlus(['x-a', 'b\rc'])],
  ['LF in a value', requestPlus(['x-a', 'b\nc'])],
  ['NUL in a value', requestPlus(['x-a', 'b\0c'])],
  ['a blank before a value', requestPlus(['x-a', ' b'])],
  ['a tab behind a value', requestPlus(['x-a', 'b\t'])],
  ['an unknown pseudo-header', [[':foo', 'bar'], ...requestFields]],
  [':status', [[':status', '200'], ...requestFields]],
  [':protocol', [[':protocol', 'websocket'], ...requestFields]],
  ['a pseudo-header after a regular field', [['x-a', 'b'], ...requestFields]],
  ['connection', requestPlus(['connection', 'close'])],
  ['keep-alive', requestPlus(['keep-alive', 'timeout=5'])],
  ['proxy-connection', requestPlus(['proxy-connection', 'keep-alive'])],
  ['transfer-encoding', requestPlus(['transfer-encoding', 'chunked'])],
  ['upgrade', requestPlus(['upgrade', 'h2c'])],
  ['te: trailers, deflate', [...requestWithout('te'), ['te', 'trailers, deflate']]],
  ['te twice', requestPlus(['te', 'trailers'])],
  ['no :method', requestWithout(':method')],
  ['no :scheme', requestWithout(':scheme')],
  ['no :path', requestWithout(':path')],
  ['an empty :path', [[':path', ''], ...requestWithout(':path')]],
  ['two :path', [[':path', '/a.B/C'], ...requestFields]],
  ['two :method', [[':method', 'GET'], ...requestFields]],
  ['two :scheme', [[':scheme', 'https'], ...requestFields]],
  ['two :authority', [[':authority', 'b'], ...requestFields]],
  ['two host', requestPlus(['host', 'a'], ['host', 'b'])],
  ['two content-length', requestPlus(['content-length', '0'], ['content-length', '0'])],
  ['a negative content-length', requestPlus(['content-length', '-1'])],
  ['a content-length that is no number', requestPlus(['content-length', '1x'])],
  ['a content-length beyond all numbers', requestPlus(['content-length', '9'.repeat(30)])],
  ['two content-length that differ', requestPlus(['content-length', '0'], ['content-length', '5'])],
  ['a list as content-length', requestPlus(['content-length', '0, 0'])],
  ['an empty content-length', requestPlus(['content-length', ''])],
  ['a content-length with a sign', requestPlus(['content-length', '+0'])],
  ['a content-length in hexadecimal', requestPlus(['content-length', '0x0'])],
  ['a name with DEL', requestPlus(['x\x7f', 'b'])],
  ['a name with NUL', requestPlus(['x\0', 'b'])],
  ['a name of a colon alone', requestPlus([':', 'b'])],
  ['a pseudo-header in upper case', [[':Path', '/a.B/C'], ...requestFields]],
  ['only blanks as a value', requestPlus(['x-a', ' '])],
  ['te: gzip', [...requestWithout('te'), ['te', 'gzip']]],
  ['an empty te', [...requestWithout('te'), ['te', '']]],
  ['an empty :method', [[':method', ''], ...requestWithout(':method')]],
  ['an empty :scheme', [[':scheme', ''], ...requestWithout(':scheme')]],
  ['an empty :authority', [[':authority', ''], ...requestWithout(':authority')]],
  ['an empty :authority and a host', [[':authority', ''], ...requestWithout(':authority'), ['host', 'orders']]],
  ...noAuthorities.flatMap((authority): readonly (readonly [string, Fields])[] => [
    [`:authority ${JSON.stringify(authority)}`, [[':authority', authority], ...requestWithout(':authority')]],
    [`host ${JSON.stringify(authority)} in place of :authority`, [...requestWithout(':authority'), ['host', authority]]],
  ]),
  ['an empty host in place of :authority', [...requestWithout(':authority'), ['host', '']]],
  [
    'CONNECT as its method, as RFC 9113 8.5 writes it',
    [
      [':method', 'CONNECT'],
      [':authority', 'orders:443'],
    ],
  ],
  [
    'CONNECT and :protocol, which was not offered (RFC 8441)',
    [[':method', 'CONNECT'], [':protocol', 'websocket'], ...requestWithout(':method')],
  ],
];

/** What a server may do wrong on the answer to a request; the call fails, the connection lives. */
export const malformedAnswers: readonly (readonly [what: string, send: (peer: RawPeer, id: number) => void])[] = [
  ['no :status', (peer, id) => peer.headers(id, [['x-a', 'b']], END_HEADERS)],
  ['two :status', (peer, id) => peer.headers(id, [[':status', '200'], ...responseFields], END_HEADERS)],
  ['a :status of two digits', (peer, id) => peer.headers(id, [[':status', '20']], END_HEADERS)],
  ['a :status that is no number', (peer, id) => peer.headers(id, [[':status', '2x0']], END_HEADERS)],
  [':path in it', (peer, id) => peer.headers(id, [...responseFields.slice(0, 1), [':path', '/']], END_HEADERS)],
  ['connection in it', (peer, id) => peer.headers(id, [...responseFields, ['connection', 'close']], END_HEADERS)],
  ['an upper-case name in it', (peer, id) => peer.headers(id, [...responseFields, ['X-A', 'b']], END_HEADERS)],
  ['DATA before HEADERS', (peer, id) => peer.data(id, 3)],
  ['101', (peer, id) => peer.headers(id, [[':status', '101']], END_HEADERS)],
  ['100 that ends the stream', (peer, id) => peer.headers(id, [[':status', '100']])],
  [
    'less DATA than content-length',
    (peer, id) => {
      peer.headers(id, [...responseFields, ['content-length', '10']], END_HEADERS);
      peer.data(id, 9);
      peer.headers(id, [['grpc-status', '0']]);
    },
  ],
  ['a content-length and no DATA', (peer, id) => peer.headers(id, [...responseFields, ['content-length', '10']])],
  [
    ':status in trailers',
    (peer, id) => {
      peer.headers(id, responseFields, END_HEADERS);
      peer.headers(id, [[':status', '200']]);
    },
  ],
  ['a :status below 100', (peer, id) => peer.headers(id, [[':status', '099']], END_HEADERS)],
  ['an unknown pseudo-header in it', (peer, id) => peer.headers(id, [...responseFields.slice(0, 1), [':reason', 'fine']], END_HEADERS)],
  ['a pseudo-header after a regular field in it', (peer, id) => peer.headers(id, [...responseFields].reverse(), END_HEADERS)],
  ['LF in a value of it', (peer, id) => peer.headers(id, [...responseFields, ['x-a', 'b\nc: d']], END_HEADERS)],
  ['NUL in a value of it', (peer, id) => peer.headers(id, [...responseFields, ['x-a', 'b\0']], END_HEADERS)],
  ['a blank behind a value of it', (peer, id) => peer.headers(id, [...responseFields, ['x-a', 'b ']], END_HEADERS)],
  ['an empty name in it', (peer, id) => peer.headers(id, [...responseFields, ['', 'b']], END_HEADERS)],
  ['transfer-encoding in it', (peer, id) => peer.headers(id, [...responseFields, ['transfer-encoding', 'chunked']], END_HEADERS)],
  [
    'two content-length',
    (peer, id) => peer.headers(id, [...responseFields, ['content-length', '1'], ['content-length', '1']], END_HEADERS),
  ],
  ['a content-length that is no number', (peer, id) => peer.headers(id, [...responseFields, ['content-length', 'much']], END_HEADERS)],
  [
    'more DATA than content-length',
    (peer, id) => {
      peer.headers(id, [...responseFields, ['content-length', '10']], END_HEADERS);
      peer.data(id, 11);
    },
  ],
  [
    'trailers that do not end it',
    (peer, id) => {
      peer.headers(id, responseFields, END_HEADERS);
      peer.headers(id, [['grpc-status', '0']], END_HEADERS);
    },
  ],
  [
    'an informational response behind its headers',
    (peer, id) => {
      peer.headers(id, responseFields, END_HEADERS);
      peer.headers(id, [[':status', '103']], END_HEADERS);
    },
  ],
  ...(
    [
      ['an upper-case name', ['X-A', 'b']],
      ['connection', ['connection', 'close']],
      ['CR in a value', ['x-a', 'b\r']],
      ['an unknown pseudo-header', [':foo', 'bar']],
    ] as const
  ).map(
    ([what, field]) =>
      [
        `${what} in trailers`,
        (peer: RawPeer, id: number) => {
          peer.headers(id, responseFields, END_HEADERS);
          peer.headers(id, [['grpc-status', '0'], field]);
        },
      ] as const,
  ),
  [
    'DATA after the end',
    (peer, id) => {
      peer.headers(id, responseFields, END_HEADERS);
      peer.data(id, 1, true);
      peer.data(id, 1, true);
    },
  ],
];
