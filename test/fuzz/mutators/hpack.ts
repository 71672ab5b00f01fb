import type { Random } from '../random.ts';
import { mutateBytes } from './bytes.ts';

export type Field = readonly [name: string, value: string];

/** An integer of RFC 7541 5.1 behind the bits `first` of its first byte; `zeros` bytes longer than it need be. */
export const integer = (value: number, first: number, prefix: number, zeros = 0): Buffer => {
  if (value < prefix) return Buffer.from([first | value]);
  const bytes = [first | prefix];
  let rest = value - prefix;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
  for (let i = 0; i < zeros; i++) {
    bytes[bytes.length - 1] = (bytes.at(-1) as number) | 128;
    bytes.push(0);
  }
  return Buffer.from(bytes);
};

const plain = (text: string): Buffer => {
  const bytes = Buffer.from(text, 'latin1');
  return Buffer.concat([integer(bytes.length, 0, 127), bytes]);
};

/** Literals without indexing, without Huffman coding (RFC 7541 6.2.2). */
export const fieldBlock = (fields: readonly Field[]): Buffer =>
  Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), plain(name), plain(value)]));

const request: readonly Field[] = [
  [':method', 'POST'],
  [':scheme', 'http'],
  [':path', '/acme.Echo/Call'],
  [':authority', 'echo'],
  ['content-type', 'application/grpc'],
  ['te', 'trailers'],
];
const response: readonly Field[] = [
  [':status', '200'],
  ['content-type', 'application/grpc'],
];
const trailers: readonly Field[] = [['grpc-status', '0']];
const extras: readonly Field[] = [
  ['grpc-timeout', '10S'],
  ['grpc-timeout', '1n'],
  ['grpc-timeout', '99999999H'],
  ['grpc-timeout', '-1S'],
  ['grpc-status', '14'],
  ['grpc-status', '999999999999'],
  ['grpc-message', 'caf%C3%A9%'],
  ['grpc-encoding', 'gzip'],
  ['grpc-previous-rpc-attempts', '3'],
  ['grpc-retry-pushback-ms', '-1'],
  ['content-length', '5'],
  ['content-length', '0'],
  ['content-length', '+5'],
  ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
  ['tracestate', 'a=b,c=d'],
  ['x-forwarded-client-cert', 'By=spiffe://x;Hash=00;Subject="CN=a"'],
  ['x-envoy-upstream-rq-timeout-ms', '10'],
  ['x-envoy-retry-on', '5xx,cancelled'],
  ['x-envoy-max-retries', '4294967295'],
  ['x-request-id', 'a'.repeat(36)],
  ['cookie', 'a=b'],
  ['cookie', 'c=d'],
  ['host', 'echo'],
  ['connection', 'close'],
  ['transfer-encoding', 'chunked'],
  ['te', 'gzip'],
  [':protocol', 'websocket'],
  [':status', '100'],
  [':status', '103'],
  [':path', '*'],
  ['Upper', 'case'],
  ['x-bin', '\u0000\r\n\u00ff'],
  ['', 'no name'],
  ['x-large', 'v'.repeat(5_000)],
  ['content-type', 'application/grpc-web+proto'],
  ['content-type', 'text/html'],
];

/** Fields of a request, an answer or trailers, with something added or left out. */
export const anyFields = (random: Random): readonly Field[] => {
  const fields = [...random.pick([request, request, response, trailers])];
  for (let i = random.below(4); i > 0; i--)
    fields.splice(random.oneIn(3) ? random.below(fields.length + 1) : fields.length, 0, random.pick(extras));
  if (random.oneIn(4)) fields.splice(random.below(fields.length), 1);
  return fields;
};

const sizes = [0, 1, 30, 31, 32, 60, 100, 1_000, 4_095, 4_096, 4_097, 65_536, 2 ** 28, 2 ** 31, 2 ** 32, 2 ** 40];
const names = ['x-a', 'x-b', 'cookie', ':path', 'grpc-status', 'x-Upper', ' ', '\u0000', 'a'.repeat(100)];
const values = ['', 'a', 'b', '/', 'application/grpc', ' padded ', 'ä', '\u0000', 'v'.repeat(200), 'w'.repeat(3_000)];
/** Codes for `/`, `www.`, one with EOS, padding of a byte, padding with zeros, nothing. */
const huffman = ['63', 'f1e3c2e5f23a6ba0ab90f4ff', 'ffffffff', '63ff', '60', '', '1c6490b2cd39ba7f', 'fffffffc', '25a849e95ba97d7f'];

const anyString = (random: Random, texts: readonly string[]): Buffer => {
  if (!random.oneIn(3)) return plain(random.pick(texts));
  const code = random.oneIn(3) ? random.bytes(random.below(20)) : Buffer.from(random.pick(huffman), 'hex');
  return Buffer.concat([
    integer(random.oneIn(10) ? random.pick(sizes) : code.length, 0x80, 127, random.oneIn(10) ? random.below(5) : 0),
    code,
  ]);
};

/** One representation of RFC 7541 section 6, right or wrong. */
export const anyRepresentation = (random: Random): Buffer => {
  const zeros = random.oneIn(12) ? random.below(6) : 0;
  const index = random.oneIn(8) ? random.pick(sizes) : random.oneIn(2) ? random.between(62, 70) : random.below(62);
  const named = (first: number, prefix: number): Buffer => {
    const known = random.oneIn(2);
    const name = known ? [integer(index, first, prefix, zeros)] : [Buffer.from([first]), anyString(random, names)];
    return Buffer.concat([...name, anyString(random, values)]);
  };
  switch (random.below(7)) {
    case 0:
    case 1:
      return integer(index, 0x80, 0x7f, zeros);
    case 2:
    case 3:
      return named(0x40, 0x3f);
    case 4:
      return named(0x00, 0x0f);
    case 5:
      return named(0x10, 0x0f);
    default:
      return integer(random.pick(sizes), 0x20, 0x1f, zeros);
  }
};

/** Where the representations of a block begin, as far as it can be read; strings are stepped over. */
const boundaries = (block: Buffer): number[] => {
  const starts: number[] = [];
  let at = 0;
  const step = (prefix: number): number => {
    let value = (block[at++] as number) & prefix;
    if (value !== prefix) return value;
    for (let shift = 0; at < block.length && shift < 28; shift += 7) {
      const byte = block[at++] as number;
      value += (byte & 127) << shift;
      if (byte < 128) break;
    }
    return value;
  };
  const string = (): void => {
    if (at < block.length) at += step(0x7f);
  };
  while (at < block.length) {
    starts.push(at);
    const first = block[at] as number;
    if (first >= 0x80) step(0x7f);
    else if ((first & 0xe0) === 0x20) step(0x1f);
    else {
      if (step(first >= 0x40 ? 0x3f : 0x0f) === 0) string();
      string();
    }
  }
  return [...starts, block.length];
};

/** One change of a header block at the level of its representations. */
export const mutateBlock = (random: Random, block: Buffer): Buffer => {
  const starts = boundaries(block);
  const at = starts[random.below(starts.length)] as number;
  const next = starts[starts.indexOf(at) + 1] ?? block.length;
  switch (random.below(6)) {
    case 0:
      return Buffer.concat([block.subarray(0, at), block.subarray(Math.min(next, block.length))]);
    case 1:
      return Buffer.concat([block.subarray(0, at), block.subarray(at, next), block.subarray(at)]);
    case 2:
      return mutateBytes(random, block, block);
    case 3:
      return Buffer.concat([anyRepresentation(random), block]);
    default:
      return Buffer.concat([block.subarray(0, at), anyRepresentation(random), block.subarray(at)]);
  }
};
