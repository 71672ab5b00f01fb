/**
 * Conversations as the fuzzer keeps them: frames of HTTP/2 (RFC 9113 4.1), and between them frames of a type that nobody uses, which are
 * not sent but say what the test's own side does at that moment. So a file of the corpus reads as HTTP/2, and what changes frames changes acts too.
 */
export interface WireFrame {
  readonly type: number;
  readonly flags: number;
  /** With the reserved bit. */
  readonly id: number;
  readonly payload: Buffer;
  /** The length in the header, where it is not that of the payload. */
  readonly claimedBytes?: number;
}

export const actFrameType = 0xfe;

/** What the side under test is made to do; a, b and c in {@link actFrame} say on which stream and how. */
export const Act = {
  sendHeaders: 0,
  sendData: 1,
  sendTrailers: 2,
  reset: 3,
  consume: 4,
  release: 5,
  open: 6,
  ping: 7,
  drain: 8,
  goAway: 9,
  destroy: 10,
  advance: 11,
  holdSocket: 12,
  unholdSocket: 13,
  endSocket: 14,
  failSocket: 15,
  turn: 16,
  /** From here on the other peer speaks. */
  switchSide: 17,
} as const;

export const wireFrame = (type: number, flags: number, id: number, payload: Buffer): WireFrame => ({ type, flags, id, payload });

export const actFrame = (act: number, a = 0, b = 0, c = 0): WireFrame => wireFrame(actFrameType, 0, 0, Buffer.from([act, a, b, c]));

/** Cuts `bytes` into frames; what is no whole frame stays in `rest`. */
export const readFrames = (bytes: Buffer): { readonly frames: WireFrame[]; readonly rest: Buffer } => {
  const frames: WireFrame[] = [];
  let at = 0;
  while (bytes.length - at >= 9) {
    const length = bytes.readUIntBE(at, 3);
    if (bytes.length - at - 9 < length) break;
    frames.push(
      wireFrame(bytes[at + 3] as number, bytes[at + 4] as number, bytes.readUInt32BE(at + 5), bytes.subarray(at + 9, at + 9 + length)),
    );
    at += 9 + length;
  }
  return { frames, rest: bytes.subarray(at) };
};

export const writeFrame = ({ type, flags, id, payload, claimedBytes }: WireFrame): Buffer => {
  const bytes = Buffer.allocUnsafe(9 + payload.length);
  bytes.writeUIntBE((claimedBytes ?? payload.length) & 0xff_ffff, 0, 3);
  bytes[3] = type;
  bytes[4] = flags;
  bytes.writeUInt32BE(id >>> 0, 5);
  bytes.set(payload, 9);
  return bytes;
};

export const writeFrames = (frames: readonly WireFrame[]): Buffer => Buffer.concat(frames.map(writeFrame));

/** Cuts a stream of bytes that comes in pieces into frames, without looking at any byte twice. */
export class FrameCutter {
  #parts: Buffer[] = [];
  #haveBytes = 0;
  #neededBytes = 9;

  /** A frame has begun and not ended. */
  get insideFrame(): boolean {
    return this.#haveBytes > 0;
  }

  /** The frames that are whole with this piece. */
  cut(bytes: Buffer): readonly WireFrame[] {
    if (bytes.length === 0) return [];
    this.#parts.push(bytes);
    this.#haveBytes += bytes.length;
    if (this.#haveBytes < this.#neededBytes) return [];
    const { frames, rest } = readFrames(this.#parts.length === 1 ? bytes : Buffer.concat(this.#parts));
    this.#parts = rest.length > 0 ? [rest] : [];
    this.#haveBytes = rest.length;
    this.#neededBytes = rest.length < 9 ? 9 : 9 + rest.readUIntBE(0, 3);
    return frames;
  }
}
