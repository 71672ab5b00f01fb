/** Frames, header tables and messages on their way through a sidecar, in both directions: whatever cuts and sizes, the bytes stay the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { answer } from '../attacks/scripted-upstream.ts';
import { checkLeaks } from '../harness/leak-check.ts';
import { bodyOf, type Fields, okTrailers, requestFields, responseFields } from '../http2/http2-bench.ts';
import { END_HEADERS, END_STREAM, frame, literals, type RawPeer, Type } from '../http2/raw-peer.ts';
import { type Between, between, type Direction, directions, fieldOf, type RawClient } from './conformance.ts';
import { startSidecar, throughOne } from './mesh.ts';
import { answerOk, message, startUpstream } from './upstream.ts';

checkLeaks();

const headerTableSize = 1;
const maxFrameSize = 5;
const frameSizeError = 6;
const compressionError = 9;
const mostFrameBytes = 16_384;
/** RFC 7541 6.3, the least of it. */
const sizeUpdateToZero = 0x20;

/** Answers with the request's own metadata, in headers and in trailers. */
const mirror = (peer: RawPeer, id: number): void => {
  const sent = peer.fieldList(peer.seen(Type.HEADERS, id)[0] as NonNullable<ReturnType<RawPeer['seen']>[0]>);
  const metadata = sent.filter(([name]) => name.startsWith('x-m'));
  sendBlock(peer, id, [...responseFields, ...metadata], false);
  peer.data(id, message('pong'));
  sendBlock(peer, id, [...okTrailers, ...metadata], true);
};

/** A header block in as many frames as it takes. */
const sendBlock = (peer: RawPeer, id: number, fields: Fields, endStream: boolean): void => {
  const block = literals(fields);
  for (let at = 0; at < block.length; at += mostFrameBytes) {
    const end = at + mostFrameBytes >= block.length ? END_HEADERS : 0;
    const flags = at === 0 && endStream ? end | END_STREAM : end;
    peer.send(at === 0 ? Type.HEADERS : Type.CONTINUATION, flags, id, block.subarray(at, at + mostFrameBytes));
  }
};

const isMirrored = async (client: RawClient, metadata: Fields): Promise<number> => {
  const { id } = client;
  sendBlock(client, id, [...requestFields, ...metadata], true);
  const { headers, trailers } = await client.answer(id);
  assert.deepEqual(headers, [...responseFields, ...metadata]);
  assert.deepEqual(trailers, [...okTrailers, ...metadata]);
  return id;
};

const firstBlock = (peer: RawPeer, id: number): Buffer => (peer.seen(Type.HEADERS, id)[0] as { payload: Buffer }).payload;

for (const direction of directions) {
  test(`${direction}: metadata of almost 60 KiB passes both ways, in frames that every peer takes`, async (t) => {
    // Whatever larger frames a peer would take: the raw peer refuses any above 16,384 bytes, the least that there is.
    const settings = [[maxFrameSize, 0xff_ffff]] as const;
    const { connect, service } = await between(t, direction, { settings, onRequest: mirror });
    const client = await connect(settings);
    for (const bytes of [7_000, mostFrameBytes - 200, 24_000, 59_000]) {
      const values = Math.ceil(bytes / 7_000);
      const metadata = Array.from({ length: values }, (_, i): Fields[0] => [
        `x-m${i}`,
        bodyOf(bytes / values, i)
          .toString('hex')
          .slice(0, bytes / values),
      ]);
      const id = await isMirrored(client, metadata);
      const wanted = bytes > mostFrameBytes;
      assert.equal(client.seen(Type.CONTINUATION, id).length > 0, wanted, `${bytes} bytes to the caller`);
    }
    const peer = service.peers[0] as RawPeer;
    assert.ok(peer.seen(Type.CONTINUATION).length >= 1 + 3, 'and to the service');
    assert.ok(peer.seen(Type.CONTINUATION).some(({ payload }) => payload.length === mostFrameBytes));
  });

  test(`${direction}: above the limit of metadata the call says so, and the header table stays right`, async (t) => {
    const { connect, arrived } = await between(t, direction, { onRequest: mirror });
    const client = await connect();
    const small: Fields = [['x-m', 'small']];
    await isMirrored(client, small);
    for (const metadata of [
      Array.from({ length: 9 }, (_, i): Fields[0] => [`x-m${i}`, 'v'.repeat(7_000)]),
      Array.from({ length: 120 }, (_, i): Fields[0] => [`x-m${i}`, 'v']),
    ]) {
      const { id } = client;
      sendBlock(client, id, [...requestFields, ...metadata], true);
      const { trailers } = await client.answer(id);
      assert.equal(fieldOf(trailers, 'grpc-status'), '8');
      assert.equal(fieldOf(trailers, 'x-outrider-reason'), 'headers_too_large');
      await isMirrored(client, small);
    }
    assert.equal(arrived().length, 3);
  });

  test(`${direction}: a peer without a header table, and one that changes its size between calls, reads every block`, async (t) => {
    const { connect, service } = await between(t, direction, { settings: [[headerTableSize, 0]], onRequest: mirror });
    const client = await connect([[headerTableSize, 0]]);
    const metadata: Fields = [
      ['x-m-a', 'the same again and again'],
      ['x-m-b', 'and this one'],
    ];
    const first = await isMirrored(client, metadata);
    const peer = service.peers[0] as RawPeer;
    assert.equal(firstBlock(client, first)[0], sizeUpdateToZero, 'no table is announced to the caller');
    assert.equal(firstBlock(peer, 1)[0], sizeUpdateToZero, 'nor to the service');
    const without = firstBlock(peer, 1).length;
    for (let i = 0; i < 3; i++) await isMirrored(client, metadata);
    assert.ok(firstBlock(peer, 7).length > without - 8, 'nothing is indexed without a table');
    for (const sizes of [[4_096], [0], [0, 4_096], [65_536], [100], [4_096, 0, 200], [0, 65_536]]) {
      for (const one of [client, peer]) {
        // In one go: the changes are in flight together, and the block behind them names the least and the last (RFC 7541 4.2).
        for (const size of sizes) one.settings([[headerTableSize, size]]);
        await one.roundTrip();
      }
      for (let i = 0; i < 4; i++) await isMirrored(client, metadata);
    }
    const lastId = peer.seen(Type.HEADERS).at(-1)?.id as number;
    assert.ok(firstBlock(peer, lastId).length < without / 2, 'with a table again, what repeats is indexed');
  });

  test(`${direction}: the size of the header table changes with calls in flight, and none is misread`, async (t) => {
    const { connect, service } = await between(t, direction, { onRequest: mirror });
    const client = await connect();
    const peers = (): readonly RawPeer[] => [client, ...service.peers];
    const ids: number[] = [];
    const calls = 200;
    for (let i = 0; i < calls; i++) {
      ids.push(client.request([...requestFields, ['x-m-same', 'v'.repeat(40)], ['x-m-few', `value ${i % 5}`]]));
      if (i % 7 === 0) for (const peer of peers()) peer.settings([[headerTableSize, [0, 4_096, 90, 65_536][(i / 7) % 4] as number]]);
      if (i % 20 === 19) await client.answer(ids.at(-1) as number);
    }
    for (const [i, id] of ids.entries()) {
      const { headers, trailers } = await client.answer(id);
      const metadata = [
        ['x-m-same', 'v'.repeat(40)],
        ['x-m-few', `value ${i % 5}`],
      ];
      assert.deepEqual(
        [headers, trailers],
        [
          [...responseFields, ...metadata],
          [...okTrailers, ...metadata],
        ],
      );
    }
  });

  test(`${direction}: what a peer indexes is known until it takes its table back, in requests and in answers`, async (t) => {
    const indexed = Buffer.concat([Buffer.from([0x40]), literals([['x-m-kept', 'in the table']]).subarray(1)]);
    const again = Buffer.from([0x80 | 62]);
    const noTable = Buffer.from([sizeUpdateToZero]);
    const tableAgain = Buffer.from([sizeUpdateToZero, 0x3f, 0xe1, 0x1f]);
    const steps: readonly (readonly [before: Buffer, behind: Buffer])[] = [
      [Buffer.alloc(0), indexed],
      [Buffer.alloc(0), again],
      [tableAgain, indexed],
      [Buffer.alloc(0), again],
      [noTable, Buffer.alloc(0)],
    ];
    let step = 0;
    const block = (fields: Fields): Buffer => {
      const [before, behind] = steps[step] as (typeof steps)[0];
      return Buffer.concat([before, literals(fields), behind]);
    };
    const { connect, arrived } = await between(t, direction, {
      onRequest: (peer, id) => {
        peer.send(Type.HEADERS, END_HEADERS, id, block(responseFields));
        peer.headers(id, okTrailers);
      },
    });
    const client = await connect();
    for (step = 0; step < steps.length; step++) {
      const { id } = client;
      client.send(Type.HEADERS, END_HEADERS | END_STREAM, id, block(requestFields));
      const { headers } = await client.answer(id);
      const wanted = steps[step]?.[1].length === 0 ? undefined : 'in the table';
      assert.equal(fieldOf(headers, 'x-m-kept'), wanted);
      assert.equal(fieldOf(arrived()[step]?.fields ?? [], 'x-m-kept'), wanted);
    }
    client.send(Type.HEADERS, END_HEADERS | END_STREAM, client.id, Buffer.concat([literals(requestFields), again]));
    assert.equal((await client.goAway()).code, compressionError, 'an entry that was evicted is none');
  });

  test(`${direction}: frames of 16,384 bytes are taken, of whatever type, and none larger`, async (t) => {
    const { connect, arrived } = await between(t, direction, { onRequest: (peer, id) => answer(peer, id) });
    const client = await connect();
    const filler = mostFrameBytes - literals([...requestFields, ['x-m', 'v'.repeat(8_000)], ['x-n', '']]).length - 2;
    const fields: Fields = [...requestFields, ['x-m', 'v'.repeat(8_000)], ['x-n', 'w'.repeat(filler)]];
    assert.equal(literals(fields).length, mostFrameBytes);
    const { id } = client;
    client.headers(id, fields, END_HEADERS);
    client.send(0x99, 0, id, Buffer.alloc(mostFrameBytes));
    client.data(id, message(Buffer.alloc(mostFrameBytes - 5)), true);
    await client.answer(id);
    assert.deepEqual(arrived()[0]?.fields, fields);
    for (const type of [Type.DATA, Type.HEADERS, Type.SETTINGS, 0x99]) {
      const other = await connect();
      other.headers(1, requestFields, END_HEADERS);
      other.send(type, 0, type === Type.SETTINGS ? 0 : 1, Buffer.alloc(mostFrameBytes + 1));
      assert.equal((await other.goAway()).code, frameSizeError, `a frame of type ${type}`);
    }
  });

  test(`${direction}: messages pass whatever frames and segments they are cut into, flags and all`, async (t) => {
    const mesh = await between(t, direction, { onRequest: echoing(cutBy) });
    const client = await mesh.connect();
    await fc.assert(
      fc.asyncProperty(messageList, fc.array(fc.integer({ min: 0, max: 700 }), { minLength: 1, maxLength: 12 }), async (messages, cuts) => {
        const whole = Buffer.concat(messages);
        cutBy.splice(0, cutBy.length, ...cuts.toReversed());
        await isEchoed(client, whole, cuts, mesh);
      }),
      { numRuns: 40 },
    );
    // One byte in each frame, the end in a frame of its own.
    cutBy.splice(0, cutBy.length, 1);
    await isEchoed(client, Buffer.concat([message('ab'), message('')]), [1], mesh);
  });

  test(`${direction}: messages above 4 MiB pass both ways`, async (t) => {
    const body = message(bodyOf(5 * 1024 * 1024 + 1, 3));
    const answer = await (await echoThrough(t, direction)).call({ bytes: body });
    assert.equal(answer.status, 0);
    assert.ok(answer.body.equals(body));
  });
}

/** Messages with any compression flag, known or not: what is in them is between the two ends. */
const messageList = fc.array(
  fc.tuple(fc.constantFrom(0, 1, 255), fc.uint8Array({ maxLength: 400 })).map(([flag, contents]) => {
    const bytes = message(contents);
    bytes[0] = flag;
    return bytes;
  }),
  { maxLength: 5 },
);

/** How the service cuts its answers. */
const cutBy: number[] = [1];

/** DATA frames of these sizes in turn; a frame without bytes ends the stream, or is at least not next to another. */
const sendCut = (peer: RawPeer, id: number, whole: Buffer, cuts: readonly number[]): void => {
  let wasEmpty = false;
  for (let at = 0, i = 0; at < whole.length; i++) {
    const wanted = cuts[i % cuts.length] as number;
    const size: number = wanted === 0 && (wasEmpty || cuts.every((cut) => cut === 0)) ? whole.length : wanted;
    wasEmpty = size === 0;
    const piece = frame(Type.DATA, 0, id, whole.subarray(at, at + size));
    // In two segments, cut within the frame's header.
    peer.write(piece.subarray(0, 1 + (i % 9)));
    peer.write(piece.subarray(1 + (i % 9)));
    at += size;
  }
};

const echoing =
  (cuts: readonly number[]) =>
  (peer: RawPeer, id: number): void => {
    const collect = (): void => {
      const data = peer.seen(Type.DATA, id);
      // A request without DATA may end with its headers.
      const last = data.at(-1) ?? peer.seen(Type.HEADERS, id)[0];
      if (((last?.flags ?? 0) & END_STREAM) === 0) return;
      peer.socket.off('data', collect);
      peer.headers(id, responseFields, END_HEADERS);
      sendCut(peer, id, Buffer.concat(data.map(({ payload }) => payload)), cuts);
      peer.headers(id, okTrailers);
    };
    peer.socket.on('data', collect);
    collect();
  };

const isEchoed = async (client: RawClient, whole: Buffer, cuts: readonly number[], { service }: Between): Promise<void> => {
  const { id } = client;
  client.headers(id, requestFields, END_HEADERS);
  sendCut(client, id, whole, cuts);
  client.data(id, 0, true);
  // The windows of 64 KiB are those of RFC 9113; what was read is credited.
  for (const peer of [client, ...service.peers]) peer.windowUpdate(0, whole.length + 1);
  const { body } = await client.answer(id);
  assert.ok(body.equals(whole), `${whole.length} bytes in pieces of ${cuts.join(', ')}`);
};

const echoThrough = async (t: Parameters<typeof throughOne>[0], direction: Direction) => {
  const echo: Parameters<typeof throughOne>[1] = (call) => {
    void call.body.then((body) => answerOk(call, body.subarray(5)));
  };
  if (direction === 'outbound') return (await throughOne(t, echo)).client;
  const service = await startUpstream(t, echo);
  return (await startSidecar(t, { localService: service.port })).inboundCaller();
};
