/**
 * Nanoseconds per header block. Run: node bench/micro/hpack.ts
 * The input is what gRPC clients send: stable fields indexed, some values new with every call.
 */

import { HeaderBlock } from '../../src/http2/header-block.ts';
import { HpackDecoder } from '../../src/http2/hpack/decoder.ts';
import { HpackEncoder } from '../../src/http2/hpack/encoder.ts';
import { huffmanEncode, huffmanEncodedBytes } from '../../src/http2/hpack/huffman.ts';
import { Token } from '../../src/http2/hpack/token.ts';

const rounds = 200_000;
const variants = 64;
const repeats = 7;

const hex = (i: number, digits: number) =>
  ((BigInt(i + 1) * 0x9e3779b97f4a7c15f39cc0605cedc835n) % (1n << BigInt(digits * 4))).toString(16).padStart(digits, '0');
const uuid = (i: number) => hex(i, 32).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');

const stable: [string, string][] = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':authority', 'orders.shop.svc.cluster.local:8080'],
  ['content-type', 'application/grpc'],
  ['te', 'trailers'],
  ['user-agent', 'grpc-node-js/1.14.7'],
];
const varying = (i: number): [string, string][] => [
  ['grpc-timeout', `${1000 + i}m`],
  ['traceparent', `00-${hex(i, 32)}-${hex(i, 16)}-01`],
  ['x-request-id', uuid(i)],
];
const path: [string, string] = [':path', '/shop.orders.v1.OrderService/PlaceOrder'];

const text = (value: string, huffman: boolean): Buffer => {
  const raw = Buffer.from(value, 'latin1');
  if (!huffman) return Buffer.concat([Buffer.from([raw.length]), raw]);
  const coded = Buffer.alloc(huffmanEncodedBytes(raw, 0, raw.length));
  huffmanEncode(raw, 0, raw.length, coded, 0);
  return Buffer.concat([Buffer.from([0x80 | coded.length]), coded]);
};

/** A block as nghttp2 or grpc-go send it once the stable fields are in the table. `insert` is grpc-go's way. */
const requestBlocks = (huffman: boolean, insert: boolean) => {
  const names = ['grpc-timeout', 'traceparent', 'x-request-id'];
  const dynamic = [...stable.slice(2), [':path', ''] as [string, string]];
  const prime = Buffer.concat([
    ...names.map((name) => Buffer.concat([Buffer.from([0x40]), text(name, false), text('0', false)])),
    ...dynamic.map(([name, value]) => Buffer.concat([Buffer.from([0x40]), text(name, false), text(value, false)])),
  ]);
  // newest first: the fields of `dynamic` from 62 + 4 downwards, then the names
  const blocks = Array.from({ length: variants }, (_, i) => {
    let inserted = 0;
    const parts = [Buffer.from([0x83, 0x86]), Buffer.from([0x04]), text(path[1], huffman)];
    for (let at = 0; at < 4; at++) parts.push(Buffer.from([0x80 | (62 + 4 - at)]));
    varying(i).forEach(([name, value]) => {
      if (insert) {
        parts.push(Buffer.from([0x40]), text(name, huffman), text(value, huffman));
        inserted++;
      } else {
        const index = 62 + 5 + 2 - names.indexOf(name);
        parts.push(Buffer.from([0x0f, index - 15]), text(value, huffman));
      }
    });
    return { bytes: Buffer.concat(parts), inserted };
  });
  return { prime, blocks };
};

const measure = (label: string, run: (round: number) => void) => {
  let best = Number.POSITIVE_INFINITY;
  for (let repeat = 0; repeat < repeats; repeat++) {
    const before = process.cpuUsage();
    for (let round = 0; round < rounds; round++) run(round);
    const { user, system } = process.cpuUsage(before);
    best = Math.min(best, ((user + system) * 1000) / rounds);
  }
  console.log(`${label.padEnd(64)} ${best.toFixed(0).padStart(6)} ns`);
};

const fill = (block: HeaderBlock, fields: [string, string][]) => {
  block.reset();
  for (const [name, value] of fields) block.addNamed(name, value);
  return block;
};

const block = new HeaderBlock();
const out = Buffer.alloc(16 * 1024);

for (const [label, huffman] of [
  ['plain strings', false],
  ['Huffman strings', true],
] as const) {
  const { prime, blocks } = requestBlocks(huffman, false);
  const decoder = new HpackDecoder();
  decoder.decode(prime, 0, prime.length, block, 100, 60 * 1024);
  measure(`decode request, 10 fields, ${blocks[0]!.bytes.length} bytes, ${label}`, (round) => {
    const { bytes } = blocks[round % variants]!;
    block.reset();
    if (decoder.decode(bytes, 0, bytes.length, block, 100, 60 * 1024) !== 0 || block.count !== 10) throw new Error('decode');
  });
}

{
  // Every call inserts its varying values: a table that churns. The encoder of a peer that evicts: literals with names.
  const blocks = Array.from({ length: variants }, (_, i) =>
    Buffer.concat([
      Buffer.from([0x83, 0x86]),
      ...[path, ...stable.slice(2)].map(([name, value]) => Buffer.concat([Buffer.from([0x00]), text(name, true), text(value, true)])),
      ...varying(i).map(([name, value]) => Buffer.concat([Buffer.from([0x40]), text(name, true), text(value, true)])),
    ]),
  );
  const decoder = new HpackDecoder();
  measure(`decode request, nothing indexed, 3 inserted, ${blocks[0]!.length} bytes, Huffman`, (round) => {
    const bytes = blocks[round % variants]!;
    block.reset();
    if (decoder.decode(bytes, 0, bytes.length, block, 100, 60 * 1024) !== 0 || block.count !== 10) throw new Error('decode');
  });
}

const encodeBench = (label: string, lists: [string, string][][]) => {
  const encoder = new HpackEncoder();
  const blocks = lists.map((fields) => fill(new HeaderBlock(), fields));
  for (const b of blocks) encoder.encode(b, out, 0);
  for (const b of blocks) encoder.encode(b, out, 0);
  const size = encoder.encode(blocks[0]!, out, 0);
  measure(`encode ${label}, ${size} bytes`, (round) => {
    encoder.encode(blocks[round % blocks.length]!, out, 0);
  });
};
const decodeBench = (label: string, lists: [string, string][][]) => {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder();
  const encoded = (fields: [string, string][]) => Buffer.from(out.subarray(0, encoder.encode(fill(block, fields), out, 0)));
  const warm = [...lists, ...lists].map(encoded);
  for (const bytes of warm) decoder.decode(bytes, 0, bytes.length, block, 100, 60 * 1024);
  const blocks = lists.map(encoded);
  measure(`decode ${label}, ${blocks[0]!.length} bytes, as our encoder writes it`, (round) => {
    const bytes = blocks[round % blocks.length]!;
    block.reset();
    if (decoder.decode(bytes, 0, bytes.length, block, 100, 60 * 1024) !== 0) throw new Error('decode');
  });
};

const requests = Array.from({ length: variants }, (_, i) => [...stable.slice(0, 2), path, ...stable.slice(2), ...varying(i)]);
const response: [string, string][][] = [
  [
    [':status', '200'],
    ['content-type', 'application/grpc'],
    ['grpc-accept-encoding', 'identity,deflate,gzip'],
    ['grpc-encoding', 'identity'],
  ],
];
const trailers: [string, string][][] = [
  [
    ['grpc-status', '0'],
    ['grpc-message', 'OK'],
  ],
];
for (const [label, lists] of [
  ['request, 10 fields', requests],
  ['response, 4 fields', response],
  ['trailers, 2 fields', trailers],
] as const) {
  encodeBench(label, lists);
  decodeBench(label, lists);
}

// What a proxy does: decode, edit two fields, encode for the other side.
{
  const { prime, blocks } = requestBlocks(true, false);
  const decoder = new HpackDecoder();
  const encoder = new HpackEncoder();
  decoder.decode(prime, 0, prime.length, block, 100, 60 * 1024);
  measure('decode request (Huffman), replace grpc-timeout, encode', (round) => {
    const { bytes } = blocks[round % variants]!;
    block.reset();
    decoder.decode(bytes, 0, bytes.length, block, 100, 60 * 1024);
    block.set(Token.grpcTimeout, '987654u');
    encoder.encode(block, out, 0);
  });
}
