/** Answers of a service as RFC 9113 8.1 to 8.3 and gRPC want them, and what a caller hears where they are not so, in both directions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answer } from '../attacks/scripted-upstream.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { type Fields, okTrailers, requestFields, responseFields } from '../http2/http2-bench.ts';
import { malformedAnswers } from '../http2/malformed-messages.ts';
import { END_HEADERS, END_STREAM, type RawPeer, Type } from '../http2/raw-peer.ts';
import { between, directions, fieldOf, type RawAnswer } from './conformance.ts';
import { message, until } from './upstream.ts';

checkLeaks();

type Send = (peer: RawPeer, id: number) => void;

/** A service that answers each call with the script that is current. */
class Actor {
  act: Send = answer;
  readonly onRequest = (peer: RawPeer, id: number): void => this.act(peer, id);
}

const status = {
  OK: '0',
  CANCELLED: '1',
  UNKNOWN: '2',
  PERMISSION_DENIED: '7',
  RESOURCE_EXHAUSTED: '8',
  UNIMPLEMENTED: '12',
  INTERNAL: '13',
  UNAVAILABLE: '14',
  UNAUTHENTICATED: '16',
} as const;

const failsWith = ({ trailers }: RawAnswer, wanted: string, reason: string, what: string): void => {
  assert.equal(fieldOf(trailers, 'grpc-status'), wanted, `${what}: ${fieldOf(trailers, 'grpc-message')}`);
  assert.equal(fieldOf(trailers, 'x-outrider-reason'), reason, what);
};

/** RFC 9113 7 to gRPC's PROTOCOL-HTTP2, Errors; 14 and 0xff are codes that nobody knows. */
const resets: readonly (readonly [code: number, wanted: string])[] = [
  [0x0, status.INTERNAL],
  [0x1, status.INTERNAL],
  [0x2, status.INTERNAL],
  [0x3, status.INTERNAL],
  [0x4, status.INTERNAL],
  [0x5, status.INTERNAL],
  [0x6, status.INTERNAL],
  [0x7, status.UNAVAILABLE],
  [0x8, status.CANCELLED],
  [0x9, status.INTERNAL],
  [0xa, status.INTERNAL],
  [0xb, status.RESOURCE_EXHAUSTED],
  [0xc, status.PERMISSION_DENIED],
  [0xd, status.INTERNAL],
  [0xe, status.INTERNAL],
  [0xff, status.INTERNAL],
];

/** http-grpc-status-mapping; what it does not name is UNKNOWN. */
const named: Readonly<Record<number, string>> = {
  400: status.INTERNAL,
  401: status.UNAUTHENTICATED,
  403: status.PERMISSION_DENIED,
  404: status.UNIMPLEMENTED,
  429: status.UNAVAILABLE,
  431: status.INTERNAL,
  502: status.UNAVAILABLE,
  503: status.UNAVAILABLE,
  504: status.UNAVAILABLE,
};
const httpStatuses = [
  ...Object.keys(named).map(Number),
  200,
  201,
  204,
  206,
  301,
  304,
  405,
  408,
  409,
  413,
  415,
  418,
  500,
  501,
  505,
  599,
  999,
];

/** Ways to say an HTTP status and no `grpc-status`. */
const silences: readonly (readonly [what: string, send: (peer: RawPeer, id: number, http: string) => void])[] = [
  ['headers alone', (peer, id, http) => peer.headers(id, [[':status', http]])],
  [
    'headers of gRPC alone',
    (peer, id, http) =>
      peer.headers(id, [
        [':status', http],
        ['content-type', 'application/grpc'],
      ]),
  ],
  [
    'a page',
    (peer, id, http) => {
      peer.headers(
        id,
        [
          [':status', http],
          ['content-type', 'text/html'],
          ['content-length', '9'],
        ],
        END_HEADERS,
      );
      peer.data(id, Buffer.from('<p>no</p>'), true);
    },
  ],
  [
    'trailers of something else',
    (peer, id, http) => {
      peer.headers(
        id,
        [
          [':status', http],
          ['content-type', 'application/grpc'],
        ],
        END_HEADERS,
      );
      peer.headers(id, [['x-checksum', '1']]);
    },
  ],
];

const statuses = [
  ...Array.from({ length: 17 }, (_, code) => String(code)),
  '17',
  '99',
  '255',
  '999999999',
  '2147483648',
  '-1',
  'abc',
  '',
  '00',
  '1.5',
];

const messages = [
  '',
  'plain words',
  'erst%20z%C3%A4hlen%3A%20100%20%25',
  'a lone % and a %zz and a %4',
  '%FF%FE is no UTF-8, %00 is NUL, %0d%0a breaks a line',
  'raw UTF-8: \u00c3\u00bc',
  'm'.repeat(8_000),
];

const metadata: Fields = [
  ['x-a', '1'],
  ['x-b', ''],
  ['x-a', '2'],
  ['x-bin', 'AAEC,/w==,'],
  ['x-bin', 'AAE'],
  ['set-cookie', 'a=1; Path=/'],
  ['set-cookie', 'b=2'],
  ['x-long', 'v'.repeat(8_192)],
  ['x-high', '\u0080\u00ff \t \u00e9'],
  ["!#$%&'*+-.^_`|~0", 'odd'],
];

for (const direction of directions) {
  test(`${direction}: an answer that is malformed is reset, and the caller hears what was wrong`, async (t) => {
    const actor = new Actor();
    const { connect, outrider, service } = await between(t, direction, actor);
    const client = await connect();
    // What comes behind the end of an answer comes on a closed stream.
    const rows = malformedAnswers.filter(([what]) => what !== 'DATA after the end');
    for (const [i, [what, send]] of rows.entries()) {
      actor.act = send;
      const ended = await client.answer(client.request());
      failsWith(ended, status.INTERNAL, 'upstream_reset', what);
      assert.match(fieldOf(ended.trailers, 'grpc-message') ?? '', /broke HTTP\/2: .*/, what);
      assert.equal(await (service.peers[0] as RawPeer).resetCode(2 * i + 1), 1, what);
    }
    actor.act = answer;
    assert.equal(fieldOf((await client.answer(client.request())).trailers, 'grpc-status'), status.OK);
    assert.equal(service.peers.length, 1, 'one connection for all of them');
    assert.deepEqual(outrider.fates(direction), { upstream_reset: rows.length, ok: 1 });
  });

  test(`${direction}: RST_STREAM becomes the status that gRPC gives its code, before and behind the headers`, async (t) => {
    const actor = new Actor();
    const { connect, service } = await between(t, direction, actor);
    const client = await connect();
    for (const [code, wanted] of resets) {
      actor.act = (peer, id) => peer.reset(id, code);
      const before = await client.answer(client.request());
      failsWith(before, wanted, 'upstream_reset', `code ${code}`);
      assert.ok(before.trailersOnly);
      actor.act = (peer, id) => {
        peer.headers(id, responseFields, END_HEADERS);
        peer.data(id, message('half'));
        peer.reset(id, code);
      };
      const behind = await client.answer(client.request());
      failsWith(behind, wanted, 'upstream_reset', `code ${code} behind headers`);
      assert.deepEqual([behind.headers, behind.body], [responseFields, message('half')]);
    }
    assert.equal(service.peers.length, 1);
  });

  test(`${direction}: an answer without grpc-status has the status of its HTTP status, and never OK`, async (t) => {
    const actor = new Actor();
    const { connect, outrider, service } = await between(t, direction, actor);
    const client = await connect();
    for (const http of httpStatuses) {
      for (const [what, send] of silences) {
        actor.act = (peer, id) => send(peer, id, String(http));
        failsWith(await client.answer(client.request()), named[http] ?? status.UNKNOWN, 'missing_status', `${http}, ${what}`);
      }
    }
    assert.equal(service.peers.length, 1);
    assert.deepEqual(outrider.fates(direction), { missing_status: httpStatuses.length * silences.length });
  });

  test(`${direction}: of several grpc-status the last one counts, as for grpc-go, and the caller sees no other`, async (t) => {
    const actor = new Actor();
    const { connect, outrider } = await between(t, direction, actor);
    const client = await connect();
    for (const [codes, wanted] of [
      [['0', '13'], '13'],
      [['13', '0'], '0'],
      [['5', '5', '5'], '5'],
      [['0', 'x'], 'x'],
    ] as const) {
      const end: Fields = [...codes.map((code) => ['grpc-status', code] as const), ['grpc-message', 'why']];
      const seen: Fields = [
        ['grpc-status', wanted],
        ['grpc-message', 'why'],
      ];
      actor.act = (peer, id) => {
        peer.headers(id, responseFields, END_HEADERS);
        peer.headers(id, end);
      };
      assert.deepEqual((await client.answer(client.request())).trailers, seen);
      actor.act = (peer, id) => peer.headers(id, [...responseFields, ...end]);
      assert.deepEqual((await client.answer(client.request())).headers, [...responseFields, ...seen]);
    }
    assert.deepEqual(outrider.fates(direction), { ok: 2, app_error: 6 });
  });

  test(`${direction}: a status, its message and its details come through as they are, in trailers and without`, async (t) => {
    const actor = new Actor();
    const { connect, outrider } = await between(t, direction, actor);
    const client = await connect();
    const details = Buffer.from(Array.from({ length: 256 }, (_, i) => i)).toString('base64');
    let ok = 0;
    const ends: Fields[] = [
      ...statuses.map((code): Fields => [['grpc-status', code]]),
      ...messages.map(
        (text): Fields => [
          ['grpc-status', '5'],
          ['grpc-message', text],
          ['grpc-status-details-bin', details],
        ],
      ),
      [
        ['grpc-status', '14'],
        ['grpc-retry-pushback-ms', '-1'],
      ],
      [['grpc-status', '0'], ...metadata],
    ];
    for (const end of ends) {
      if (Number(end[0]?.[1] || NaN) === 0) ok += 2;
      actor.act = (peer, id) => {
        peer.headers(id, responseFields, END_HEADERS);
        peer.headers(id, end);
      };
      assert.deepEqual((await client.answer(client.request())).trailers, end);
      actor.act = (peer, id) => peer.headers(id, [...responseFields, ...end]);
      const only = await client.answer(client.request());
      assert.ok(only.trailersOnly);
      assert.deepEqual(only.headers, [...responseFields, ...end]);
    }
    assert.deepEqual(outrider.fates(direction), { ok, app_error: 2 * ends.length - ok });
  });

  test(`${direction}: metadata of headers and trailers comes through byte for byte, in its order`, async (t) => {
    const actor = new Actor();
    const { connect } = await between(t, direction, actor);
    const client = await connect();
    actor.act = (peer, id) => {
      peer.headers(id, [...responseFields, ['grpc-encoding', 'gzip'], ...metadata], END_HEADERS);
      peer.data(id, message('pong'));
      peer.headers(id, [...okTrailers, ...metadata]);
    };
    for (let i = 0; i < 3; i++) {
      const { headers, trailers, body } = await client.answer(client.request());
      assert.deepEqual(headers, [...responseFields, ['grpc-encoding', 'gzip'], ...metadata]);
      assert.deepEqual(trailers, [...okTrailers, ...metadata]);
      assert.deepEqual(body, message('pong'));
    }
  });

  test(`${direction}: informational responses are taken in, however many calls get some at once`, async (t) => {
    const pending: [RawPeer, number][] = [];
    const calls = 40;
    const { connect, service } = await between(t, direction, {
      onRequest: (peer, id) => {
        for (const code of ['100', '102', '103'])
          peer.headers(
            id,
            [
              [':status', code],
              ['link', '</style.css>'],
            ],
            END_HEADERS,
          );
        pending.push([peer, id]);
        if (pending.length < calls) return;
        for (const [i, [other, otherId]] of pending.entries()) {
          if (i % 2 === 0) answer(other, otherId);
          else other.headers(otherId, [...responseFields, ...okTrailers]);
        }
      },
    });
    const client = await connect();
    const ids = Array.from({ length: calls }, () => client.request());
    for (const id of ids) {
      const { headers, trailers } = await client.answer(id);
      assert.equal(fieldOf(headers, ':status'), '200');
      assert.equal(fieldOf(trailers, 'grpc-status'), status.OK);
    }
    assert.equal(service.peers.length, 1);
  });

  test(`${direction}: content-length is held against the DATA, and not passed on`, async (t) => {
    const actor = new Actor();
    const { connect } = await between(t, direction, actor);
    const client = await connect();
    const length = (bytes: number): Fields => [...responseFields, ['content-length', String(bytes)]];
    const whole = message('pong');
    actor.act = (peer, id) => {
      peer.headers(id, length(whole.length), END_HEADERS);
      peer.data(id, whole);
      peer.headers(id, [...okTrailers, ['content-length', '77']]);
    };
    const sound = await client.answer(client.request());
    assert.deepEqual([sound.headers, sound.body, sound.trailers], [responseFields, whole, okTrailers]);
    actor.act = (peer, id) => peer.headers(id, [...length(0), ...okTrailers]);
    assert.deepEqual((await client.answer(client.request())).headers, [...responseFields, ...okTrailers]);
    actor.act = (peer, id) => {
      peer.headers(id, length(1_000), END_HEADERS);
      peer.data(id, whole);
      peer.reset(id, 8);
    };
    const broken = await client.answer(client.request());
    failsWith(broken, status.CANCELLED, 'upstream_reset', 'broken off');
    assert.deepEqual([broken.headers, broken.body], [responseFields, whole]);
    // RFC 9110 8.6: of 304 it counts what was not sent.
    actor.act = (peer, id) =>
      peer.headers(id, [
        [':status', '304'],
        ['content-length', '10'],
      ]);
    failsWith(await client.answer(client.request()), status.UNKNOWN, 'missing_status', '304');
  });

  test(`${direction}: an answer before the request's end is whole, and NO_ERROR follows it`, async (t) => {
    const { connect, service } = await between(t, direction, {
      onRequest: (peer, id) => {
        answer(peer, id, 'enough');
        peer.reset(id, 0);
      },
    });
    const client = await connect();
    for (let i = 0; i < 2; i++) {
      const { id } = client;
      client.headers(id, requestFields, END_HEADERS);
      client.data(id, message('more to come'));
      const { body, trailers } = await client.answer(id);
      assert.deepEqual([body, trailers], [message('enough'), okTrailers]);
      assert.equal(await client.resetCode(id), 0);
      const [end] = client.seen(Type.RST_STREAM, id);
      const last = client.frames.findLastIndex((one) => one.id === id && (one.flags & END_STREAM) !== 0 && one.type === Type.HEADERS);
      assert.ok(client.frames.indexOf(end as NonNullable<typeof end>) > last, 'the reset comes behind the answer');
    }
    await client.roundTrip();
    await until(() => service.peers.length === 1, 'one connection');
  });
}
