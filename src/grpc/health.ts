/**
 * `grpc.health.v1`: the two messages of the gRPC health checking protocol
 * (https://github.com/grpc/grpc/blob/master/doc/health-checking.md), read and written without a protobuf library: they are a string and a number.
 */

export const healthCheckPath = '/grpc.health.v1.Health/Check';
export const healthWatchPath = '/grpc.health.v1.Health/Watch';

/** `HealthCheckResponse.ServingStatus`. A number that nobody knows is `UNKNOWN`. */
export const servingStatuses = ['UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN'] as const;
export type ServingStatus = (typeof servingStatuses)[number];

const prefixBytes = 5;
const serviceTag = 0x0a; // field 1, length-delimited
const statusTag = 0x08; // field 1, varint
/** A health message is a few bytes; one that is longer comes from somebody who speaks another protocol, or means harm. */
const longestMessageBytes = 1_024;
const longestVarintBytes = 10;
const largestTag = 0xffff_ffff;

/** A `HealthCheckRequest` for `service` (empty: the server as a whole) as one gRPC message with its prefix. */
export const healthRequest = (service: string): Buffer => {
  const name = Buffer.from(service, 'utf8');
  const length: number[] = [];
  for (let rest = name.length; ; rest >>>= 7) {
    length.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest);
    if (rest <= 0x7f) break;
  }
  const body = name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.from([serviceTag, ...length]), name]);
  const message = Buffer.alloc(prefixBytes + body.length);
  message.writeUInt32BE(body.length, 1);
  message.set(body, prefixBytes);
  return message;
};

/**
 * Takes a stream of `HealthCheckResponse` messages apart, however its bytes are split. It keeps one message at most, of at most 1 KiB.
 */
export class HealthResponses {
  #kept: Uint8Array = empty;

  /**
   * Reads on. Calls `onStatus` for each whole message.
   * @returns what is wrong with the bytes, after which nothing more is to be read; `undefined` where nothing is.
   */
  read(bytes: Uint8Array, start: number, end: number, onStatus: (status: ServingStatus) => void): string | undefined {
    const kept = this.#kept;
    let input = bytes.subarray(start, end);
    if (kept.length > 0) {
      const joined = new Uint8Array(kept.length + input.length);
      joined.set(kept);
      joined.set(input, kept.length);
      input = joined;
    }
    let at = 0;
    while (input.length - at >= prefixBytes) {
      if (input[at] !== 0) return 'the answer is compressed, which nobody asked for';
      const length = new DataView(input.buffer, input.byteOffset + at + 1, 4).getUint32(0);
      if (length > longestMessageBytes) return `the answer has a message of ${length} bytes, which is no HealthCheckResponse`;
      if (input.length - at < prefixBytes + length) break;
      const status = statusOfMessage(input.subarray(at + prefixBytes, at + prefixBytes + length));
      if (status === undefined) return 'the answer is no HealthCheckResponse';
      onStatus(status);
      at += prefixBytes + length;
    }
    // Of a Buffer `slice` would be a view.
    this.#kept = at === input.length ? empty : new Uint8Array(input.subarray(at));
    return undefined;
  }

  /** Forgets what is kept: another answer begins. */
  clear(): void {
    this.#kept = empty;
  }
}

const empty = new Uint8Array(0);

/** Unknown fields are passed over, and the last `status` counts, as protobuf says. */
const statusOfMessage = (message: Uint8Array): ServingStatus | undefined => {
  let status = 0;
  let at = 0;
  /** Of the last varint, as an int32: that is what becomes of an enum. */
  let low = 0;
  const varint = (): number => {
    let value = 0;
    low = 0;
    for (let i = 0; i < longestVarintBytes; i++) {
      const byte = message[at++];
      if (byte === undefined) return -1;
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (i < 5) low |= (byte & 0x7f) << (7 * i);
      if (byte < 0x80) return value;
    }
    return -1;
  };
  while (at < message.length) {
    const tag = varint();
    if (tag < 8 || tag > largestTag) return undefined;
    const type = tag % 8;
    if (type === 0) {
      const value = varint();
      if (value < 0) return undefined;
      if (tag === statusTag) status = low;
    } else if (type === 1) at += 8;
    else if (type === 5) at += 4;
    else if (type === 2) {
      const length = varint();
      if (length < 0) return undefined;
      at += length;
    } else return undefined;
    if (at > message.length) return undefined;
  }
  return servingStatuses[status] ?? 'UNKNOWN';
};
