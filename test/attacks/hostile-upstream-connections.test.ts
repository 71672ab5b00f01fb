/** Upstreams that speak something else, fall silent, break off, or send headers to drown in. */
import assert from 'node:assert/strict';
import type net from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { status } from '@grpc/grpc-js';
import { checkLeaks } from '../harness/leak-check.ts';
import { requestFields, responseFields } from '../http2/http2-bench.ts';
import { END_HEADERS, frame, literals, type RawPeer, Type, uint32 } from '../http2/raw-peer.ts';
import { MeshCertificates, pass, virtualClock } from '../mesh/mesh.ts';
import { message, startTcp, until } from '../mesh/upstream.ts';
import {
  answer,
  type HostileMesh,
  type HostileOptions,
  identities,
  initialWindowSize,
  maxConcurrentStreams,
  type Outcome,
  overPlainAndTls,
  secure,
  throughSidecar,
} from './scripted-upstream.ts';

checkLeaks();

/** RFC 9113 7. */
const codes = { PROTOCOL_ERROR: 1, FLOW_CONTROL_ERROR: 3, FRAME_SIZE_ERROR: 6, COMPRESSION_ERROR: 9, ENHANCE_YOUR_CALM: 11 } as const;

/** A sidecar before a plain TCP server. */
const beforeTcp = async (t: TestContext, onSocket: (socket: net.Socket) => void, options?: HostileOptions): Promise<HostileMesh> =>
  throughSidecar(t, `127.0.0.1:${await startTcp(t, onSocket)}`, options);

const failsWith = ({ code, reason, details }: Outcome, wanted: string, text: RegExp): void => {
  assert.equal(reason, wanted, details);
  assert.equal(code, status.UNAVAILABLE, details);
  assert.match(details, text);
};

for (const [name, say] of [
  ['answers in HTTP/1.1', (socket) => void socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n'))],
  ['greets in another protocol', (socket) => void socket.write('220 mail.example ESMTP\r\n')],
  ['closes at once', (socket) => void socket.end()],
  ['resets at once', (socket) => void socket.resetAndDestroy()],
  ['sends half of its SETTINGS and closes', (socket) => void socket.end(frame(Type.SETTINGS, 0, 0, Buffer.alloc(6)).subarray(0, 11))],
  ['begins with another frame than SETTINGS', (socket) => void socket.write(frame(Type.PING, 0, 0, Buffer.alloc(8)))],
] as const satisfies readonly (readonly [string, (socket: net.Socket) => void])[]) {
  test(`an upstream that ${name} cannot be connected to, and the breaker opens`, async (t) => {
    const { caller, outrider, stat, friendAnswers } = await beforeTcp(t, say);
    for (let i = 0; i < 5; i++) failsWith(await caller.call(), 'connect_failure', /cluster "echo", endpoint 127\.0\.0\.1:\d+/);
    failsWith(await caller.call(), 'circuit_open', /Circuit breaker OPEN/);
    assert.equal(stat('upstream_cx_connect_fail'), 5);
    assert.equal(stat('upstream_cx_total'), 5);
    assert.deepEqual(outrider.fates(), { connect_failure: 5, circuit_open: 1 });
    await friendAnswers();
  });
}

/** Over TLS, with our certificate accepted and `h2` agreed on. */
for (const [name, say] of [
  ['answers in HTTP/1.1', (socket) => void socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n'))],
  ['closes at once', (socket) => void socket.end()],
  ['sends half of its SETTINGS and closes', (socket) => void socket.end(frame(Type.SETTINGS, 0, 0, Buffer.alloc(6)).subarray(0, 11))],
  ['begins with another frame than SETTINGS', (socket) => void socket.write(frame(Type.PING, 0, 0, Buffer.alloc(8)))],
] as const satisfies readonly (readonly [string, (socket: net.Socket) => void])[]) {
  test(`an upstream that ${name} behind TLS cannot be connected to, and the breaker opens`, async (t) => {
    const { pair, certificates } = await identities(t);
    const onSocket = (socket: net.Socket): void => say(secure(socket, pair));
    const { caller, outrider, stat, friendAnswers } = await beforeTcp(t, onSocket, { certificates });
    for (let i = 0; i < 5; i++) {
      const { code, reason, details } = await caller.call();
      assert.equal(code, status.UNAVAILABLE, details);
      assert.match(reason ?? '', /^(connect_failure|tls_handshake_failed)$/, details);
    }
    failsWith(await caller.call(), 'circuit_open', /Circuit breaker OPEN/);
    assert.equal(stat('upstream_cx_connect_fail'), 5);
    assert.equal(outrider.fates().circuit_open, 1);
    await friendAnswers();
  });
}

test('TLS with HTTP/1.1 alone: no protocol in common, and nothing is sent', async (t) => {
  const { pair, certificates } = await identities(t);
  let received = 0;
  const onSocket = (socket: net.Socket): void => void secure(socket, pair, ['http/1.1']).on('data', () => received++);
  const { caller, friendAnswers } = await beforeTcp(t, onSocket, { certificates });
  failsWith(await caller.call(), 'tls_handshake_failed', /ALPN|protocol/i);
  assert.equal(received, 0);
  await friendAnswers();
});

test('TLS without ALPN: the handshake succeeds and the connection is refused', async (t) => {
  const certificates = await MeshCertificates.create(t);
  const { certPem, keyPem } = await certificates.pair('echo');
  const context = tls.createSecureContext({ cert: certPem, key: keyPem });
  const onSocket = (socket: net.Socket): void => {
    const secured = new tls.TLSSocket(socket, { isServer: true, secureContext: context });
    secured.on('error', () => {});
  };
  const { caller, stat, friendAnswers } = await beforeTcp(t, onSocket, {
    certificates: await certificates.issue('caller'),
    cluster: 'tls: { mode: mutual }',
  });
  failsWith(await caller.call(), 'tls_handshake_failed', /ALPN/);
  assert.equal(stat('ssl.no_alpn'), 1);
  await friendAnswers();
});

for (const secured of [false, true]) {
  test(`silence after accept${secured ? ', in the TLS handshake' : ''}: connect_timeout ends it for all that wait`, async (t) => {
    const clock = virtualClock();
    const certificates = secured ? await (await MeshCertificates.create(t)).issue('caller') : undefined;
    let accepted = 0;
    const { caller, stat, friendAnswers } = await beforeTcp(
      t,
      () => {
        accepted++;
      },
      {
        clock,
        cluster: `connect_timeout: 2s${secured ? '\ntls: { mode: mutual }' : ''}`,
        ...(certificates === undefined ? {} : { certificates }),
      },
    );
    const calls = Array.from({ length: 20 }, () => caller.call());
    await until(() => stat('upstream_rq_pending_active') === 20 && accepted === 1, 'twenty calls in the queue of one connection');
    await friendAnswers();
    await pass(clock, 2_004);
    for (const outcome of await Promise.all(calls)) failsWith(outcome, 'connect_failure', /within 2s \(connect_timeout\)/);
    assert.equal(stat('upstream_cx_connect_timeout'), 1);
    assert.equal(stat('ssl.handshake_timeout'), secured ? 1 : 0);
    assert.equal(accepted, 1);
    await friendAnswers();
  });
}

overPlainAndTls(
  'half a frame, then the end: the calls under way are lost, each says so, and the next one has a new connection',
  async (t, hostile) => {
    let honest = false;
    let requests = 0;
    const { caller, outrider, upstream, stat, friendAnswers } = await hostile(t, {
      onRequest: (peer, id) => {
        if (honest) {
          answer(peer, id);
          return;
        }
        peer.headers(id, responseFields, END_HEADERS);
        if (++requests < 4) return;
        const data = frame(Type.DATA, 0, id, message('never comes to its end'));
        peer.socket.end(data.subarray(0, 20));
      },
    });
    for (const outcome of await Promise.all(Array.from({ length: 4 }, () => caller.call()))) {
      failsWith(outcome, 'connection_lost', /was lost before the answer was complete/);
    }
    assert.equal(stat('upstream_cx_destroy_remote'), 1);
    honest = true;
    assert.equal((await caller.call()).reply, 'pong');
    assert.deepEqual(outrider.fates(), { connection_lost: 4, ok: 1 });
    assert.equal(upstream.peers.length, 2);
    await friendAnswers();
  },
);

overPlainAndTls('huge response headers end their call, and the connection goes on', async (t, hostile) => {
  let huge = true;
  const { caller, outrider, upstream, stat, friendAnswers } = await hostile(t, {
    onRequest: (peer, id) => {
      if (!huge) answer(peer, id);
      else
        sendBlock(peer, id, literals([...responseFields, ...Array.from({ length: 9 }, (_, i) => [`x-${i}`, 'v'.repeat(8_000)] as const)]));
    },
  });
  const outcome = await caller.call();
  assert.equal(outcome.code, status.INTERNAL);
  assert.equal(outcome.reason, 'upstream_reset');
  assert.match(outcome.details, /response headers are too large/);
  huge = false;
  assert.equal((await caller.call()).reply, 'pong');
  assert.equal(stat('http2.header_overflow'), 1);
  assert.equal(upstream.peers.length, 1);
  assert.deepEqual(outrider.fates(), { upstream_reset: 1, ok: 1 });
  await friendAnswers();
});

/** A header block in as many frames as it takes. */
const sendBlock = (peer: RawPeer, id: number, block: Buffer): void => {
  const most = 16_384;
  for (let at = 0; at < block.length; at += most) {
    const last = at + most >= block.length;
    peer.send(at === 0 ? Type.HEADERS : Type.CONTINUATION, last ? END_HEADERS : 0, id, block.subarray(at, at + most));
  }
};

/** An entry of almost the whole dynamic table, and then a byte for each time that it stands in the block: 16 KiB become 60 MiB. */
const hpackBomb = (): Buffer => {
  const value = Buffer.alloc(3_900, 'b');
  const length = Buffer.from([0x7f, ...leb128(value.length - 127)]);
  const entry = Buffer.concat([Buffer.from([0x40, 1]), Buffer.from('x'), length, value]);
  return Buffer.concat([literals(responseFields), entry, Buffer.alloc(12_000, 0xbe)]);
};

const leb128 = (value: number): readonly number[] => (value < 128 ? [value] : [(value & 127) | 128, ...leb128(value >>> 7)]);

/** What ends the connection, the code that the server is told, and the counter. */
const drownings: readonly (readonly [
  name: string,
  send: (peer: RawPeer, id: number) => void,
  goAwayCode: keyof typeof codes,
  counter: string | undefined,
])[] = [
  ['an HPACK bomb', (peer, id) => sendBlock(peer, id, hpackBomb()), 'ENHANCE_YOUR_CALM', 'http2.header_overflow'],
  [
    'a CONTINUATION flood',
    (peer, id) => {
      peer.send(Type.HEADERS, 0, id, literals(responseFields));
      for (let i = 0; i < 1_000; i++) peer.send(Type.CONTINUATION, 0, id, Buffer.alloc(i % 2));
    },
    'ENHANCE_YOUR_CALM',
    'http2.continuation_flood',
  ],
  [
    'a flood of informational responses',
    (peer, id) => {
      for (let i = 0; i < 1_000; i++) peer.headers(id, [[':status', '103']], END_HEADERS);
    },
    'ENHANCE_YOUR_CALM',
    'http2.inbound_empty_frames_flood',
  ],
  [
    'a flood of empty DATA',
    (peer, id) => {
      peer.headers(id, responseFields, END_HEADERS);
      for (let i = 0; i < 1_000; i++) peer.data(id, 0);
    },
    'ENHANCE_YOUR_CALM',
    'http2.inbound_empty_frames_flood',
  ],
  [
    'a flood of WINDOW_UPDATE',
    (peer) => {
      for (let i = 0; i < 1_000; i++) peer.windowUpdate(0, 1);
    },
    'ENHANCE_YOUR_CALM',
    'http2.inbound_window_update_frames_flood',
  ],
  [
    'a flood of PRIORITY',
    (peer, id) => {
      for (let i = 0; i < 1_000; i++) peer.send(Type.PRIORITY, 0, id, Buffer.alloc(5));
    },
    'ENHANCE_YOUR_CALM',
    'http2.inbound_priority_frames_flood',
  ],
  [
    'SETTINGS with a thousand entries',
    (peer) => peer.settings(Array.from({ length: 1_000 }, () => [maxConcurrentStreams, 100] as const)),
    'ENHANCE_YOUR_CALM',
    'http2.settings_flood',
  ],
  [
    'a header block that is no HPACK',
    (peer, id) => peer.send(Type.HEADERS, END_HEADERS, id, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff])),
    'COMPRESSION_ERROR',
    undefined,
  ],
  [
    'a pushed stream',
    (peer, id) => peer.send(Type.PUSH_PROMISE, END_HEADERS, id, Buffer.concat([uint32(2), literals(requestFields)])),
    'PROTOCOL_ERROR',
    undefined,
  ],
  ['an answer to a call that was never made', (peer, id) => peer.headers(id + 1_000, responseFields), 'PROTOCOL_ERROR', undefined],
  ['a frame larger than was allowed', (peer, id) => peer.data(id, 16_385), 'FRAME_SIZE_ERROR', undefined],
  ['a window that overflows', (peer) => peer.windowUpdate(0, 0x7fff_ffff), 'FLOW_CONTROL_ERROR', undefined],
  [
    'a window that overflows by SETTINGS',
    (peer, id) => {
      peer.windowUpdate(id, 0x7000_0000);
      peer.settings([[initialWindowSize, 0x7fff_ffff]]);
    },
    'FLOW_CONTROL_ERROR',
    undefined,
  ],
];

for (const [name, send, goAwayCode, counter] of drownings) {
  overPlainAndTls(`${name} ends the connection, its calls hear why, and the next one has a new connection`, async (t, hostile) => {
    let honest = false;
    let requests = 0;
    const { caller, outrider, upstream, stat, friendAnswers } = await hostile(t, {
      onRequest: (peer, id) => {
        if (honest) answer(peer, id);
        else if (++requests === 4) send(peer, id);
      },
    });
    for (const outcome of await Promise.all(Array.from({ length: 4 }, () => caller.call()))) {
      failsWith(outcome, 'connection_lost', new RegExp(goAwayCode));
    }
    const [peer] = upstream.peers as readonly [RawPeer];
    await until(() => peer.ended, 'the end of the connection');
    assert.equal((await peer.goAway()).code, codes[goAwayCode]);
    assert.equal(stat('upstream_cx_protocol_error'), 1);
    if (counter !== undefined) assert.equal(stat(counter), 1);
    honest = true;
    assert.equal((await caller.call()).reply, 'pong');
    assert.equal(outrider.stat('server.buffered_bytes'), 0);
    assert.deepEqual(outrider.fates(), { connection_lost: 4, ok: 1 });
    await friendAnswers();
  });
}

overPlainAndTls('a flood of PING from an upstream that never reads the acknowledgements ends the connection', async (t, hostile) => {
  const pings = Buffer.concat(Array.from({ length: 10_000 }, () => frame(Type.PING, 0, 0, Buffer.alloc(8))));
  let honest = false;
  const { caller, outrider, stat, friendAnswers } = await hostile(t, {
    onRequest: (peer, id) => {
      if (honest) {
        answer(peer, id);
        return;
      }
      peer.socket.pause();
      const flood = (error?: Error | null): void => {
        if (!honest && error == null && !peer.socket.destroyed) peer.socket.write(pings, flood);
      };
      flood();
    },
  });
  failsWith(await caller.call(), 'connection_lost', /ENHANCE_YOUR_CALM/);
  honest = true;
  assert.equal(stat('http2.outbound_control_flood'), 1);
  assert.equal((await caller.call()).reply, 'pong');
  assert.deepEqual(outrider.fates(), { connection_lost: 1, ok: 1 });
  await friendAnswers();
});
