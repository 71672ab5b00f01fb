import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HeaderBlock } from '../../src/http2/header-block.ts';
import { HpackDecoder, HpackProblem } from '../../src/http2/hpack/decoder.ts';
import { HpackEncoder } from '../../src/http2/hpack/encoder.ts';

type Pair = [name: string, value: string];

const bytesOf = (hex: string) => Buffer.from(hex.replaceAll(/\s/g, ''), 'hex');
const decodeInto = (decoder: HpackDecoder, hex: string) => {
  const bytes = bytesOf(hex);
  const block = new HeaderBlock();
  assert.equal(decoder.decode(bytes, 0, bytes.length, block, 100, 60_000), HpackProblem.none);
  return block;
};
/** One connection: each block with the fields it must give and the table's size behind it. */
const sequence = (tableBytes: number, blocks: [hex: string, fields: Pair[], tableBytes: number][]) => {
  const decoder = new HpackDecoder(tableBytes);
  for (const [hex, fields, size] of blocks) {
    assert.deepEqual(decodeInto(decoder, hex).toPairs(), fields);
    assert.equal(decoder.tableBytes, size);
  }
};

const get: Pair = [':method', 'GET'];
const authority: Pair = [':authority', 'www.example.com'];
const firstRequest: Pair[] = [get, [':scheme', 'http'], [':path', '/'], authority];
const secondRequest: Pair[] = [...firstRequest, ['cache-control', 'no-cache']];
const thirdRequest: Pair[] = [get, [':scheme', 'https'], [':path', '/index.html'], authority, ['custom-key', 'custom-value']];

const date = (second: number): Pair => ['date', `Mon, 21 Oct 2013 20:13:${second} GMT`];
const location: Pair = ['location', 'https://www.example.com'];
const firstResponse: Pair[] = [[':status', '302'], ['cache-control', 'private'], date(21), location];
const secondResponse: Pair[] = [[':status', '307'], ...firstResponse.slice(1)];
const thirdResponse: Pair[] = [
  [':status', '200'],
  ['cache-control', 'private'],
  date(22),
  location,
  ['content-encoding', 'gzip'],
  ['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
];

test('RFC 7541 C.1: integers fit a prefix or continue behind it', () => {
  for (const [size, hex] of [
    [10, '2a'],
    [1337, '3f9a0a'],
  ] as const) {
    const encoder = new HpackEncoder();
    encoder.setPeerMaxTableBytes(size);
    const out = Buffer.alloc(64);
    assert.equal(out.toString('hex', 0, encoder.encode(new HeaderBlock(), out, 0)), hex);
    assert.equal(decodeInto(new HpackDecoder(), hex).count, 0);
  }
});

test('RFC 7541 C.2: each kind of field decodes, and only the indexed literal enters the table', () => {
  const literal = '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572';
  sequence(4096, [[literal, [['custom-key', 'custom-header']], 55]]);
  sequence(4096, [['040c 2f73 616d 706c 652f 7061 7468', [[':path', '/sample/path']], 0]]);
  sequence(4096, [['1008 7061 7373 776f 7264 0673 6563 7265 74', [['password', 'secret']], 0]]);
  sequence(4096, [['82', [get], 0]]);
});

test('RFC 7541 C.3: requests without Huffman coding', () => {
  sequence(4096, [
    ['8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d', firstRequest, 57],
    ['8286 84be 5808 6e6f 2d63 6163 6865', secondRequest, 110],
    ['8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65', thirdRequest, 164],
  ]);
});

test('RFC 7541 C.4: requests with Huffman coding', () => {
  sequence(4096, [
    ['8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff', firstRequest, 57],
    ['8286 84be 5886 a8eb 1064 9cbf', secondRequest, 110],
    ['8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf', thirdRequest, 164],
  ]);
});

test('RFC 7541 C.5: responses without Huffman coding, evicting', () => {
  sequence(256, [
    [
      `4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d
       546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
      firstResponse,
      222,
    ],
    ['4803 3330 37c1 c0bf', secondResponse, 222],
    [
      `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f
       6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b
       2076 6572 7369 6f6e 3d31`,
      thirdResponse,
      215,
    ],
  ]);
});

test('RFC 7541 C.6: responses with Huffman coding, evicting', () => {
  sequence(256, [
    [
      `4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7
       8f0b 97c8 e9ae 82ae 43d3`,
      firstResponse,
      222,
    ],
    ['4883 640e ffc1 c0bf', secondResponse, 222],
    [
      `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335
       dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07`,
      thirdResponse,
      215,
    ],
  ]);
});
