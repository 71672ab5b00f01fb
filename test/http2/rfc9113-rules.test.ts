import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkLeaks } from '../harness/leak-check.ts';
import { requestFields, responseFields, until } from './http2-bench.ts';
import { malformedAnswers, malformedRequests, requestPlus, requestWithout } from './malformed-messages.ts';
import {
  ACK,
  END_HEADERS,
  END_STREAM,
  frame,
  literals,
  PADDED,
  PRIORITY,
  type RawPeer,
  rawClient,
  rawClientBeforePreface,
  rawServer,
  Type,
  uint32,
} from './raw-peer.ts';

checkLeaks();

const PROTOCOL_ERROR = 1;
const FLOW_CONTROL_ERROR = 3;
const STREAM_CLOSED = 5;
const FRAME_SIZE_ERROR = 6;
const COMPRESSION_ERROR = 9;

const setting = (id: number, value: number) => Buffer.concat([Buffer.from([0, id]), uint32(value)]);
const open = (peer: RawPeer, id = 1) => peer.headers(id, requestFields, END_HEADERS);

/** What a client may do wrong that ends the connection: rule, error code, what it sends. */
const connectionErrors: readonly (readonly [rule: string, code: number, send: (peer: RawPeer) => void])[] = [
  [
    '4.3 a header block that is no HPACK',
    COMPRESSION_ERROR,
    (peer) => peer.send(Type.HEADERS, END_HEADERS, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff])),
  ],
  [
    '4.3 a header block that ends within a field',
    COMPRESSION_ERROR,
    (peer) => peer.send(Type.HEADERS, END_HEADERS, 1, literals(requestFields).subarray(0, 30)),
  ],
  ['5.1 DATA on an idle stream', PROTOCOL_ERROR, (peer) => peer.data(1, 1)],
  ['5.1 RST_STREAM on an idle stream', PROTOCOL_ERROR, (peer) => peer.reset(1, 8)],
  ['5.1 WINDOW_UPDATE on an idle stream', PROTOCOL_ERROR, (peer) => peer.windowUpdate(1, 1)],
  ['5.1 CONTINUATION on an idle stream', PROTOCOL_ERROR, (peer) => peer.send(Type.CONTINUATION, END_HEADERS, 1, literals(requestFields))],
  ['5.1.1 an even stream id', PROTOCOL_ERROR, (peer) => peer.headers(2)],
  [
    '5.1.1 a stream id below an earlier one',
    STREAM_CLOSED,
    (peer) => {
      peer.headers(5);
      peer.headers(3);
    },
  ],
  ['6.1 DATA on stream 0', PROTOCOL_ERROR, (peer) => peer.data(0, 1)],
  [
    '6.1 DATA whose padding is as long as itself',
    PROTOCOL_ERROR,
    (peer) => {
      open(peer);
      peer.send(Type.DATA, PADDED, 1, Buffer.from([4, 0, 0, 0]));
    },
  ],
  ['6.2 HEADERS on stream 0', PROTOCOL_ERROR, (peer) => peer.headers(0)],
  [
    '6.2 HEADERS whose padding is longer than itself',
    PROTOCOL_ERROR,
    (peer) => peer.send(Type.HEADERS, END_HEADERS | PADDED, 1, Buffer.from([9, 1, 2])),
  ],
  ['6.2 HEADERS with PADDED and nothing else', PROTOCOL_ERROR, (peer) => peer.send(Type.HEADERS, END_HEADERS | PADDED, 1)],
  [
    '6.2 HEADERS without room for its priority',
    PROTOCOL_ERROR,
    (peer) => peer.send(Type.HEADERS, END_HEADERS | PRIORITY, 1, Buffer.from([0, 0, 0])),
  ],
  ['6.3 PRIORITY on stream 0', PROTOCOL_ERROR, (peer) => peer.send(Type.PRIORITY, 0, 0, Buffer.alloc(5))],
  ['6.3 PRIORITY of 4 bytes on an idle stream', FRAME_SIZE_ERROR, (peer) => peer.send(Type.PRIORITY, 0, 1, Buffer.alloc(4))],
  ['6.4 RST_STREAM on stream 0', PROTOCOL_ERROR, (peer) => peer.reset(0, 8)],
  [
    '6.4 RST_STREAM of 5 bytes',
    FRAME_SIZE_ERROR,
    (peer) => {
      open(peer);
      peer.send(Type.RST_STREAM, 0, 1, Buffer.alloc(5));
    },
  ],
  ['6.5 SETTINGS acknowledgement with a payload', FRAME_SIZE_ERROR, (peer) => peer.send(Type.SETTINGS, ACK, 0, setting(3, 1))],
  ['6.5 SETTINGS on a stream', PROTOCOL_ERROR, (peer) => peer.send(Type.SETTINGS, 0, 1, setting(3, 1))],
  ['6.5 SETTINGS of 7 bytes', FRAME_SIZE_ERROR, (peer) => peer.send(Type.SETTINGS, 0, 0, Buffer.alloc(7))],
  ['6.5.2 ENABLE_PUSH 2', PROTOCOL_ERROR, (peer) => peer.settings([[2, 2]])],
  ['6.5.2 INITIAL_WINDOW_SIZE 2^31', FLOW_CONTROL_ERROR, (peer) => peer.settings([[4, 2 ** 31]])],
  ['6.5.2 MAX_FRAME_SIZE 16383', PROTOCOL_ERROR, (peer) => peer.settings([[5, 16_383]])],
  ['6.5.2 MAX_FRAME_SIZE 2^24', PROTOCOL_ERROR, (peer) => peer.settings([[5, 2 ** 24]])],
  ['8441 3 ENABLE_CONNECT_PROTOCOL 2', PROTOCOL_ERROR, (peer) => peer.settings([[8, 2]])],
  [
    '6.6 PUSH_PROMISE from a client',
    PROTOCOL_ERROR,
    (peer) => peer.send(Type.PUSH_PROMISE, END_HEADERS, 1, Buffer.concat([uint32(2), literals(requestFields)])),
  ],
  ['6.7 PING on a stream', PROTOCOL_ERROR, (peer) => peer.send(Type.PING, 0, 1, Buffer.alloc(8))],
  ['6.7 PING of 6 bytes', FRAME_SIZE_ERROR, (peer) => peer.send(Type.PING, 0, 0, Buffer.alloc(6))],
  ['6.8 GOAWAY on a stream', PROTOCOL_ERROR, (peer) => peer.send(Type.GOAWAY, 0, 1, Buffer.alloc(8))],
  ['6.8 GOAWAY of 7 bytes', FRAME_SIZE_ERROR, (peer) => peer.send(Type.GOAWAY, 0, 0, Buffer.alloc(7))],
  ['6.9 WINDOW_UPDATE of 0 on the connection', PROTOCOL_ERROR, (peer) => peer.windowUpdate(0, 0)],
  ['6.9 WINDOW_UPDATE of 3 bytes', FRAME_SIZE_ERROR, (peer) => peer.send(Type.WINDOW_UPDATE, 0, 0, Buffer.alloc(3))],
  ['6.9.1 WINDOW_UPDATE beyond 2^31-1 on the connection', FLOW_CONTROL_ERROR, (peer) => peer.windowUpdate(0, 0x7fff_ffff)],
  [
    '6.9.2 SETTINGS that take the window of a stream beyond 2^31-1',
    FLOW_CONTROL_ERROR,
    (peer) => {
      open(peer);
      peer.windowUpdate(1, 0x7fff_ffff - 65_535);
      peer.settings([[4, 65_536]]);
    },
  ],
  [
    '6.10 PING within a header block',
    PROTOCOL_ERROR,
    (peer) => {
      peer.send(Type.HEADERS, 0, 1, literals(requestFields));
      peer.ping();
    },
  ],
  [
    '6.10 DATA within a header block',
    PROTOCOL_ERROR,
    (peer) => {
      peer.send(Type.HEADERS, 0, 1, literals(requestFields));
      peer.data(1, 1);
    },
  ],
  [
    '6.10 a frame of unknown type within a header block',
    PROTOCOL_ERROR,
    (peer) => {
      peer.send(Type.HEADERS, 0, 1, literals(requestFields));
      peer.send(0x99, 0, 1);
    },
  ],
  [
    '6.10 CONTINUATION of another stream',
    PROTOCOL_ERROR,
    (peer) => {
      peer.send(Type.HEADERS, 0, 1, literals(requestFields));
      peer.send(Type.CONTINUATION, END_HEADERS, 3);
    },
  ],
  [
    '6.10 CONTINUATION after END_HEADERS',
    PROTOCOL_ERROR,
    (peer) => {
      open(peer);
      peer.send(Type.CONTINUATION, END_HEADERS, 1);
    },
  ],
];

for (const [rule, code, send] of connectionErrors) {
  test(`RFC 9113 ${rule} ends the connection`, async (t) => {
    const { peer, server } = await rawClient(t);
    send(peer);
    const told = await peer.goAway();
    assert.equal(told.code, code, told.debug);
    assert.match(told.debug, /\S/, 'debug data says why');
    assert.equal(server.owner.causes[0]?.kind, 'protocol');
  });
}

/** What a client may do wrong on stream 1 that costs it that stream only. */
const streamErrors: readonly (readonly [rule: string, code: number, send: (peer: RawPeer) => void])[] = [
  [
    '5.1 HEADERS after END_STREAM',
    STREAM_CLOSED,
    (peer) => {
      peer.headers(1);
      peer.headers(1);
    },
  ],
  [
    '5.1 DATA after END_STREAM',
    STREAM_CLOSED,
    (peer) => {
      peer.headers(1);
      peer.data(1, 1);
    },
  ],
  [
    '5.3.1 a stream that depends on itself',
    PROTOCOL_ERROR,
    (peer) => peer.send(Type.HEADERS, END_HEADERS | PRIORITY, 1, Buffer.concat([uint32(1), Buffer.from([1]), literals(requestFields)])),
  ],
  [
    '6.3 PRIORITY of 6 bytes',
    FRAME_SIZE_ERROR,
    (peer) => {
      open(peer);
      peer.send(Type.PRIORITY, 0, 1, Buffer.alloc(6));
    },
  ],
  [
    '6.9 WINDOW_UPDATE of 0',
    PROTOCOL_ERROR,
    (peer) => {
      open(peer);
      peer.windowUpdate(1, 0);
    },
  ],
  [
    '6.9.1 WINDOW_UPDATE beyond 2^31-1',
    FLOW_CONTROL_ERROR,
    (peer) => {
      open(peer);
      peer.windowUpdate(1, 0x7fff_ffff);
    },
  ],
  [
    '8.1 trailers that do not end the stream',
    PROTOCOL_ERROR,
    (peer) => {
      open(peer);
      peer.headers(1, [['a', 'b']], END_HEADERS);
    },
  ],
  [
    '8.1 a pseudo-header field in trailers',
    PROTOCOL_ERROR,
    (peer) => {
      open(peer);
      peer.headers(1, [[':path', '/']]);
    },
  ],
  [
    '8.1.1 less DATA than content-length',
    PROTOCOL_ERROR,
    (peer) => {
      peer.headers(1, [...requestFields, ['content-length', '10']], END_HEADERS);
      peer.data(1, 9, true);
    },
  ],
  [
    '8.1.1 more DATA than content-length',
    PROTOCOL_ERROR,
    (peer) => {
      peer.headers(1, [...requestFields, ['content-length', '10']], END_HEADERS);
      peer.data(1, 6);
      peer.data(1, 5);
    },
  ],
  [
    '8.1.1 trailers before all of content-length',
    PROTOCOL_ERROR,
    (peer) => {
      peer.headers(1, [...requestFields, ['content-length', '10']], END_HEADERS);
      peer.data(1, 6);
      peer.headers(1, [['a', 'b']]);
    },
  ],
  [
    '8.1.1 END_STREAM on HEADERS with a content-length',
    PROTOCOL_ERROR,
    (peer) => peer.headers(1, [...requestFields, ['content-length', '10']]),
  ],
];

for (const [rule, code, send] of streamErrors) {
  test(`RFC 9113 ${rule} costs the stream, not the connection`, async (t) => {
    const { peer, server } = await rawClient(t);
    send(peer);
    assert.equal(await peer.resetCode(1), code);
    await peer.roundTrip();
    assert.equal(server.connection.activeStreams, 0);
    assert.equal(server.counters.rxMessagingError, 1);
    peer.headers(3);
    await until(() => server.owner.requests.some((request) => request.stream?.id === 3), 'the next request');
  });
}

for (const [what, fields] of malformedRequests) {
  test(`a request with ${what} is reset and reaches nobody`, async (t) => {
    const { peer, server } = await rawClient(t);
    peer.headers(1, fields);
    assert.equal(await peer.resetCode(1), PROTOCOL_ERROR);
    await peer.roundTrip();
    assert.equal(server.owner.requests.length, 0);
    assert.equal(server.counters.rxMessagingError, 1);
  });
}

test('whatever RFC 3986 lets be a host and a port is an :authority, also in the dynamic table', async (t) => {
  const { peer, server } = await rawClient(t);
  const authorities = [
    'orders',
    'Orders.shop:443',
    'orders:',
    '[::1]:50051',
    '[fe80::1%25en0]',
    '10.0.0.1:1',
    'my_svc~a-b',
    '%2Frun%2Fsock',
    "a!$&'()*+,;=b",
  ];
  let id = 1;
  for (const authority of authorities) {
    peer.headers(id, [[':authority', authority], ...requestWithout(':authority')]);
    id += 2;
  }
  // Inserted, and then named by its index; what is wrong with one is wrong with it there, too.
  const rest = literals(requestWithout(':authority'));
  const inserted = (authority: string) => Buffer.concat([Buffer.from([0x41, authority.length]), Buffer.from(authority), rest]);
  for (const [block, sound] of [
    [inserted('user@orders'), false],
    [Buffer.concat([Buffer.from([0xbe]), rest]), false],
    [inserted('orders'), true],
    [Buffer.concat([Buffer.from([0xbe]), rest]), true],
  ] as const) {
    peer.send(Type.HEADERS, END_HEADERS | END_STREAM, id, block);
    await peer.roundTrip();
    assert.equal(peer.seen(Type.RST_STREAM, id).length, sound ? 0 : 1);
    id += 2;
  }
  assert.deepEqual(
    server.owner.requests.map(({ headers }) => headers?.find(([name]) => name === ':authority')?.[1]),
    [...authorities, 'orders', 'orders'],
  );
  for (const { stream } of server.owner.requests) stream?.reset();
});

test('host beside :authority is dropped, and alone it becomes :authority', async (t) => {
  const { peer, server } = await rawClient(t);
  peer.headers(1, requestPlus(['host', 'evil']));
  peer.headers(3, [...requestWithout(':authority'), ['host', 'orders']]);
  await peer.roundTrip();
  assert.deepEqual(server.owner.requests[0]?.headers, requestFields);
  assert.deepEqual(server.owner.requests[1]?.headers, [...requestWithout(':authority'), [':authority', 'orders']]);
});

test('what RFC 9113 says to ignore is ignored', async (t) => {
  const { peer, server } = await rawClient(t);
  peer.send(0x99, 0xff, 0, Buffer.alloc(100)); // 4.1: unknown types
  peer.send(0x99, 0, 1, Buffer.alloc(100));
  peer.settings([
    [0x99, 7],
    [3, 1],
    [3, 100],
  ]); // 6.5.2: unknown settings, and repeated ones
  peer.send(Type.PING, 0xfe, 0, Buffer.from('flagsbut')); // unknown flags, ACK not among them
  peer.send(Type.PRIORITY, 0, 77, Buffer.concat([uint32(0), Buffer.from([3])])); // 5.1: PRIORITY on any stream
  peer.headers(1, requestFields, END_HEADERS | END_STREAM | 0x50); // unknown flags
  await peer.roundTrip();
  assert.equal(server.owner.requests.length, 1);
  const request = server.owner.requests[0]?.stream;
  request?.reset(8);
  await peer.resetCode(1);
  peer.windowUpdate(1, 5); // 5.1: in flight when the stream was reset
  peer.data(1, 10);
  peer.reset(1, 8);
  peer.headers(1, [['late', 'trailers']]);
  await peer.roundTrip();
  assert.equal(peer.seen(Type.RST_STREAM).length, 1);
});

test('a PING comes back with its payload, an acknowledgement does not', async (t) => {
  const { peer } = await rawClient(t);
  peer.send(Type.PING, ACK, 0, Buffer.from('unasked!'));
  peer.ping(Buffer.from('12345678'));
  const { flags, payload } = await peer.next(Type.PING);
  assert.equal(flags, ACK);
  assert.equal(payload.toString(), '12345678');
});

test('padding and priority of HEADERS are taken off', async (t) => {
  const { peer, server } = await rawClient(t);
  const payload = Buffer.concat([Buffer.from([7]), uint32(0x8000_0003), Buffer.from([200]), literals(requestFields), Buffer.alloc(7)]);
  peer.send(Type.HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY, 1, payload);
  await peer.roundTrip();
  assert.deepEqual(server.owner.requests[0]?.headers, requestFields);
});

for (const [what, bytes] of [
  ['HEADERS', frame(Type.HEADERS, END_HEADERS, 1, literals(requestFields))],
  ['DATA', frame(Type.DATA, 0, 1, Buffer.alloc(3))],
  ['a SETTINGS acknowledgement', frame(Type.SETTINGS, ACK, 0)],
  ['a frame of unknown type', frame(0x99, 0, 0)],
] as const) {
  test(`a first frame that is ${what} ends the connection (RFC 9113 3.4)`, async (t) => {
    const { peer } = rawClientBeforePreface(t);
    peer.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    peer.write(bytes);
    assert.equal((await peer.goAway()).code, PROTOCOL_ERROR);
    assert.equal(peer.frames[0]?.type, Type.SETTINGS, 'SETTINGS come first, whatever follows');
  });
}

// ---- the engine as client ----

for (const [what, send] of malformedAnswers) {
  test(`an answer with ${what} fails its call, and the connection lives`, async (t) => {
    const { peer, client } = await rawServer(t);
    const call = client.open();
    await peer.next(Type.HEADERS, 1);
    send(peer, 1);
    await peer.resetCode(1);
    assert.ok(call.reset !== undefined, 'the call hears of it');
    assert.ok(call.stream?.problem !== undefined, 'and why');
    assert.equal(call.reset.unprocessed, false);
    await peer.roundTrip();
    assert.equal(client.connection.activeStreams, 0);
    assert.ok(client.connection.canOpen);
  });
}

const hostileServer: readonly (readonly [rule: string, code: number, send: (peer: RawPeer) => void])[] = [
  [
    'PUSH_PROMISE',
    PROTOCOL_ERROR,
    (peer) => peer.send(Type.PUSH_PROMISE, END_HEADERS, 1, Buffer.concat([uint32(2), literals(requestFields)])),
  ],
  ['HEADERS on a stream that was never opened', PROTOCOL_ERROR, (peer) => peer.headers(9, responseFields)],
  ['HEADERS on an even stream', PROTOCOL_ERROR, (peer) => peer.headers(2, responseFields)],
  ['DATA on a stream that was never opened', PROTOCOL_ERROR, (peer) => peer.data(9, 1)],
  ['ENABLE_PUSH 1', PROTOCOL_ERROR, (peer) => peer.settings([[2, 1]])],
];
for (const [what, code, send] of hostileServer) {
  test(`a server's ${what} ends the connection, and the calls on it hear so`, async (t) => {
    const { peer, client } = await rawServer(t);
    const call = client.open();
    await peer.next(Type.HEADERS, 1);
    send(peer);
    assert.equal((await peer.goAway()).code, code);
    assert.ok(call.reset !== undefined && call.stream?.connectionLost === true);
  });
}

test('informational responses are consumed, the final one is told', async (t) => {
  const { peer, client } = await rawServer(t);
  const call = client.open();
  await peer.next(Type.HEADERS, 1);
  peer.headers(1, [[':status', '100']], END_HEADERS);
  peer.headers(
    1,
    [
      [':status', '103'],
      ['link', '</a>'],
    ],
    END_HEADERS,
  );
  peer.headers(1, responseFields, END_HEADERS);
  peer.data(1, 5);
  peer.headers(1, [['grpc-status', '0']]);
  await until(() => call.ended, 'the answer');
  assert.deepEqual(call.headers, responseFields);
  assert.deepEqual(call.trailers, [['grpc-status', '0']]);
});
