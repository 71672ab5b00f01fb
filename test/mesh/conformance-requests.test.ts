/** Requests as RFC 9113 8.1 to 8.3 and gRPC want them, at both listeners: what is refused and how, and what goes on as it came. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answer } from '../attacks/scripted-upstream.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { type Fields, requestFields } from '../http2/http2-bench.ts';
import { malformedRequests, requestPlus, requestWithout } from '../http2/malformed-messages.ts';
import { END_HEADERS, END_STREAM, literals, PADDED, PRIORITY, type RawFrame, type RawPeer, Type, uint32 } from '../http2/raw-peer.ts';
import { type Between, between, directions, fieldOf, type RawClient } from './conformance.ts';
import { message, until } from './upstream.ts';

checkLeaks();

const protocolError = 1;
const onRequest = (peer: RawPeer, id: number): void => answer(peer, id);
const replacing = (name: string, value: string): Fields => requestFields.map((field) => (field[0] === name ? [name, value] : field));

/** Malformed only by what follows its headers. */
const malformedStreams: readonly (readonly [what: string, send: (client: RawClient, id: number) => void])[] = [
  [
    'less DATA than content-length',
    (client, id) => {
      client.headers(id, requestPlus(['content-length', '10']), END_HEADERS);
      client.data(id, 9, true);
    },
  ],
  [
    'more DATA than content-length',
    (client, id) => {
      client.headers(id, requestPlus(['content-length', '10']), END_HEADERS);
      client.data(id, 11);
    },
  ],
  [
    'trailers before all of content-length',
    (client, id) => {
      client.headers(id, requestPlus(['content-length', '10']), END_HEADERS);
      client.data(id, 5);
      client.headers(id, [['x-late', 'yes']]);
    },
  ],
  [
    'trailers that do not end it',
    (client, id) => {
      client.headers(id, requestFields, END_HEADERS);
      client.headers(id, [['x-late', 'yes']], END_HEADERS);
    },
  ],
  [
    'a pseudo-header in its trailers',
    (client, id) => {
      client.headers(id, requestFields, END_HEADERS);
      client.headers(id, [[':path', '/shop.Orders/Other']]);
    },
  ],
  [
    'connection in its trailers',
    (client, id) => {
      client.headers(id, requestFields, END_HEADERS);
      client.headers(id, [['connection', 'close']]);
    },
  ],
  [
    'an upper-case name in its trailers',
    (client, id) => {
      client.headers(id, requestFields, END_HEADERS);
      client.headers(id, [['X-Late', 'yes']]);
    },
  ],
];

const paths = [
  '*',
  '/',
  'shop.Orders/Place',
  'http://orders/shop.Orders/Place',
  '//orders/shop.Orders/Place',
  '//shop.Orders/Place',
  '/shop.Orders',
  '/shop.Orders/',
  '/shop.Orders//Place',
  '/shop.Orders/Place/',
  '/shop.Orders/Place/More',
  '/./shop.Orders/Place',
  '/shop.Orders/../Place',
  '/../Place',
  '/shop.Orders/.',
  '/shop..Orders/Place',
  '/.shop.Orders/Place',
  '/shop.Orders./Place',
  '/shop.Orders/Place?x=1',
  '/shop.Orders/Place?',
  '/shop.Orders/Place#part',
  '/shop.Orders/Pl%61ce',
  '/shop.Orders%2fPlace',
  '/shop.Orders/Place;v=1',
  '/shop.Orders\\Place',
  '/shop.Orders/Pl ace',
  '/shop.Orders/Pl\tace',
  '/shop.Orders/Place\u00e9',
];

const timeouts = ['', '1', 'S', '1x', '-1S', '+1S', '1.5S', '123456789S', '1 S', '1SS', '0x1S'];

const foreignTypes = [
  'application/grpc-web',
  'application/grpc-web+proto',
  'application/grpc-web-text',
  'application/grpcx',
  'application/grpc x',
  'application/json',
  'application/x-www-form-urlencoded',
  'text/html; a=application/grpc',
  '',
];

const everyCharacter = String.fromCharCode(...Array.from({ length: 94 }, (_, i) => 33 + i));
const highBytes = String.fromCharCode(...Array.from({ length: 128 }, (_, i) => 128 + i));

/** What is sent, and what arrives where that is something else. */
const sound: readonly (readonly [what: string, fields: Fields, wanted?: Fields])[] = [
  ['the least', requestFields],
  ['no te', requestWithout('te'), requestFields],
  ['host beside the same :authority', requestPlus(['host', 'orders']), requestFields],
  ['host beside another :authority', requestPlus(['host', 'admin']), requestFields],
  ['a host beside :authority that could be none', requestPlus(['host', 'user@or ders']), requestFields],
  [
    'host and no :authority',
    [...requestWithout(':authority'), ['host', 'orders:50051']],
    [...requestFields.slice(0, 3), [':authority', 'orders:50051'], ...requestFields.slice(4)],
  ],
  [':scheme https', replacing(':scheme', 'https')],
  ['cookies in crumbs', requestPlus(['cookie', 'a=1'], ['x-between', 'them'], ['cookie', 'b=2'], ['cookie', 'c=3'])],
  ['cookies joined', requestPlus(['cookie', 'a=1; b=2; c=3'])],
  ['the content-length of its body', requestPlus(['content-length', String(message('ping').length)])],
  ['metadata twice, in its order', requestPlus(['x-a', '1'], ['x-b', '2'], ['x-a', '3'], ['x-a', '1'])],
  ['empty metadata', requestPlus(['x-a', ''], ['x-b-bin', ''])],
  ['binary metadata, joined and repeated', requestPlus(['x-bin', 'AAEC,/w==,'], ['x-bin', 'AAE'], ['x-bin', 'AAE='])],
  ['every character that a value may hold', requestPlus(['x-a', everyCharacter], ['x-b', `a \t b${highBytes}`])],
  ['every character that a name may hold', requestPlus(["!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz", 'b'])],
  ['8 KiB of metadata', requestPlus(['x-long', 'v'.repeat(8_192)])],
  ['compression', requestPlus(['grpc-encoding', 'gzip'], ['grpc-accept-encoding', 'identity,gzip,deflate'])],
  ['names that HTTP knows and gRPC does not', requestPlus(['expect', '100-continue'], ['range', 'bytes=0-1'], ['accept-encoding', 'gzip'])],
  ...[
    'application/grpc+proto',
    'application/grpc+json',
    'application/grpc;charset=utf-8',
    'application/grpc ; a=b',
    'Application/gRPC',
  ].map((type) => [type, replacing('content-type', type)] as const),
];

for (const direction of directions) {
  test(`${direction}: a client that waits for 100 Continue is told to go on, once and before the answer`, async (t) => {
    const mesh = await between(t, direction, {
      onRequest: (peer, id) => {
        peer.headers(id, [[':status', '100']], END_HEADERS);
        answer(peer, id);
      },
    });
    const client = await mesh.connect();
    const { id } = client;
    client.headers(id, requestPlus(['expect', '100-Continue']), END_HEADERS);
    assert.deepEqual(client.fieldList(await client.next(Type.HEADERS, id)), [[':status', '100']]);
    client.data(id, message('ping'), true);
    const { headers, trailers } = await client.answer(id);
    assert.equal(fieldOf(headers, ':status'), '100');
    assert.equal(fieldOf(trailers, 'grpc-status'), '0');
    assert.equal(client.seen(Type.HEADERS, id).length, 3);
    const whole = await client.answer(client.request(requestPlus(['expect', '100-continue'])));
    assert.equal(fieldOf(whole.headers, ':status'), '200');
    await isServed(mesh, client);
  });

  test(`${direction}: a request that is malformed by its headers is reset and reaches nobody`, async (t) => {
    const mesh = await between(t, direction, { onRequest });
    const client = await mesh.connect();
    const { outrider, arrived, listenerStat } = mesh;
    const rows: Fields[] = [
      ...malformedRequests.map(([, fields]) => fields),
      requestPlus(['content-length', '10']), // With END_STREAM.
    ];
    for (const [i, fields] of rows.entries()) {
      const what = malformedRequests[i]?.[0] ?? 'a content-length and no DATA';
      assert.equal(await client.resetCode(client.request(fields)), protocolError, what);
      assert.equal(listenerStat('rx_messaging_error'), i + 1, what);
    }
    await client.roundTrip();
    assert.deepEqual(outrider.fates(direction), {}, 'no policy has seen one');
    assert.equal(arrived().length, 0);
    await isServed(mesh, client);
  });

  test(`${direction}: a request that is malformed by what follows its headers is reset on both sides`, async (t) => {
    // Answers whole requests only.
    const onFrame = (peer: RawPeer, { type, flags, id }: RawFrame): void => {
      if ((type === Type.HEADERS || type === Type.DATA) && (flags & END_STREAM) !== 0) answer(peer, id);
    };
    const mesh = await between(t, direction, { onFrame });
    const client = await mesh.connect();
    await isServed(mesh, client);
    const peer = mesh.service.peers[0] as RawPeer;
    for (const [i, [what, send]] of malformedStreams.entries()) {
      const { id } = client;
      send(client, id);
      assert.equal(await client.resetCode(id), protocolError, what);
      assert.equal(mesh.listenerStat('rx_messaging_error'), i + 1, what);
      const upstreamId = 2 * i + 3;
      await until(() => peer.seen(Type.RST_STREAM, upstreamId).length === 1, `the service hears of ${what}`);
      const ends = peer.frames.some((one) => one.id === upstreamId && one.type <= Type.HEADERS && (one.flags & END_STREAM) !== 0);
      assert.ok(!ends, `never a whole request: ${what}`);
    }
    assert.deepEqual(mesh.outrider.fates(direction), { ok: 1, malformed_request: malformedStreams.length });
    await isServed(mesh, client);
  });

  test(`${direction}: what is sound HTTP/2 and no gRPC call is answered with what is wrong`, async (t) => {
    const mesh = await between(t, direction, { onRequest });
    const client = await mesh.connect();
    const malformed: readonly (readonly [fields: Fields, text: RegExp])[] = [
      ...['GET', 'HEAD', 'PUT', 'OPTIONS', 'PATCH', 'post', 'PO ST'].map((method) => [replacing(':method', method), /:method/] as const),
      ...paths.map((path) => [replacing(':path', path), /:path/] as const),
      ...['ftp', 'HTTP', 'grpc', 'http ://x', 'http://orders/'].map((scheme) => [replacing(':scheme', scheme), /:scheme/] as const),
      ...timeouts.map((value) => [requestPlus(['grpc-timeout', value]), /grpc-timeout/] as const),
      [requestPlus(['grpc-timeout', '1S'], ['grpc-timeout', '2S']), /grpc-timeout occurs twice/],
    ];
    for (const [fields, text] of malformed) {
      const { headers, trailersOnly } = await client.answer(client.request(fields));
      const what = JSON.stringify(fields);
      assert.ok(trailersOnly, what);
      assert.equal(fieldOf(headers, ':status'), '200', what);
      assert.equal(fieldOf(headers, 'grpc-status'), '13', what);
      assert.equal(fieldOf(headers, 'x-outrider-reason'), 'malformed_request', what);
      assert.match(fieldOf(headers, 'grpc-message') ?? '', text);
    }
    assert.deepEqual(mesh.outrider.fates(direction), { malformed_request: malformed.length });
    assert.equal(mesh.arrived().length, 0);
    await isServed(mesh, client);
  });

  test(`${direction}: another content-type than gRPC's is answered with HTTP 415`, async (t) => {
    const mesh = await between(t, direction, { onRequest });
    const client = await mesh.connect();
    const untyped = requestWithout('content-type');
    const rows: readonly Fields[] = [
      ...foreignTypes.map((type) => replacing('content-type', type)),
      untyped,
      [...untyped, ['content-type', 'application/grpc'], ['content-type', 'text/html']],
      [[':method', 'GET'], ...untyped.slice(1)],
      [[':method', 'HEAD'], ...untyped.slice(1)],
      [[':method', 'OPTIONS'], [':path', '*'], ...untyped.filter(([name]) => name !== ':method' && name !== ':path')],
    ];
    for (const fields of rows) {
      const { headers, body } = await client.answer(client.request(fields));
      const what = JSON.stringify(fields);
      assert.equal(fieldOf(headers, ':status'), '415', what);
      assert.equal(fieldOf(headers, 'x-outrider-reason'), 'unsupported_content_type', what);
      assert.equal(fieldOf(headers, 'grpc-status'), undefined, what);
      assert.equal(body.length > 0, fieldOf(fields, ':method') !== 'HEAD', what);
    }
    assert.deepEqual(mesh.outrider.fates(direction), { unsupported_content_type: rows.length });
    assert.equal(mesh.arrived().length, 0);
    await isServed(mesh, client);
  });

  test(`${direction}: a sound request goes on as it came`, async (t) => {
    const { connect, arrived } = await between(t, direction, { onRequest });
    const client = await connect();
    for (const [what, fields, wanted] of sound) {
      const before = arrived().length;
      const { trailers } = await client.answer(client.request(fields, message('ping')));
      assert.equal(fieldOf(trailers, 'grpc-status'), '0', what);
      assert.deepEqual(arrived()[before]?.fields, wanted ?? fields, what);
    }
  });

  test(`${direction}: padding, priority and CONTINUATION are taken off, request trailers end the request`, async (t) => {
    const { connect, arrived, service } = await between(t, direction, { onRequest });
    const client = await connect();
    const whole = message('p'.repeat(500));
    const block = literals(requestFields);

    const padded = client.id;
    const priority = Buffer.concat([uint32(0x8000_0000), Buffer.from([255])]);
    client.send(Type.PRIORITY, 0, padded, priority);
    client.send(
      Type.HEADERS,
      END_HEADERS | PADDED | PRIORITY,
      padded,
      Buffer.concat([Buffer.from([255]), priority, block, Buffer.alloc(255)]),
    );
    for (let at = 0; at < whole.length; at += 5) {
      const piece = whole.subarray(at, at + 5);
      client.send(Type.DATA, PADDED, padded, Buffer.concat([Buffer.from([at % 256]), piece, Buffer.alloc(at % 256)]));
      client.send(Type.PRIORITY, 0, padded, priority);
      client.send(0x99, 0xff, padded, Buffer.from('of no known type'));
    }
    client.send(
      Type.HEADERS,
      END_HEADERS | END_STREAM | PADDED,
      padded,
      Buffer.concat([Buffer.from([9]), literals([['x-late', 'yes']]), Buffer.alloc(9)]),
    );
    await client.answer(padded);
    client.send(Type.PRIORITY, 0, padded, priority);

    const cut = client.id;
    // Eight frames, the most that are taken, some of them empty.
    client.send(Type.HEADERS, 0, cut, block.subarray(0, 1));
    for (const [from, to] of [
      [1, 1],
      [1, 2],
      [2, 30],
      [30, 30],
      [30, 31],
    ] as const)
      client.send(Type.CONTINUATION, 0, cut, block.subarray(from, to));
    client.send(Type.CONTINUATION, 0, cut, block.subarray(31));
    client.send(Type.CONTINUATION, END_HEADERS, cut);
    client.data(cut, whole, true);
    await client.answer(cut);

    const seen = arrived();
    assert.deepEqual(
      seen.map(({ fields }) => fields),
      [requestFields, requestFields],
    );
    for (const { peer, frame } of seen) {
      const data = peer.seen(Type.DATA, frame.id);
      assert.deepEqual(Buffer.concat(data.map(({ payload }) => payload)), whole);
      assert.ok(data.every(({ flags }) => (flags & PADDED) === 0));
    }
    assert.equal(service.peers[0]?.seen(Type.PRIORITY).length, 0);
  });
}

const isServed = async ({ arrived }: Between, client: RawClient): Promise<void> => {
  const before = arrived().length;
  const { trailers } = await client.answer(client.request());
  assert.equal(fieldOf(trailers, 'grpc-status'), '0', 'the connection goes on');
  assert.equal(arrived().length, before + 1);
};
