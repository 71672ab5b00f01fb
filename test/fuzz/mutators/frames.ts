import type { Random } from '../random.ts';
import { Act, actFrame, actFrameType, readFrames, type WireFrame, wireFrame, writeFrames } from '../wire-frames.ts';
import { mutateBytes } from './bytes.ts';
import { anyFields, fieldBlock, mutateBlock } from './hpack.ts';

const data = 0;
const headers = 1;
const rstStream = 3;
const settings = 4;
const ping = 6;
const goAway = 7;
const windowUpdate = 8;
const continuation = 9;
const endHeaders = 4;

const ids = [0, 1, 1, 1, 3, 3, 5, 7, 2, 4, 0x7fff_ffff, 0x7fff_fffd, 0xffff_ffff];
const numbers = [0, 1, 2, 5, 10, 100, 4_096, 16_384, 65_535, 65_536, 1_000_000, 0x7fff_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};
const anySettings = (random: Random): Buffer =>
  Buffer.concat(
    Array.from({ length: random.oneIn(10) ? random.below(40) : random.below(4) }, () =>
      Buffer.concat([Buffer.from([0, random.pick([1, 2, 3, 4, 4, 4, 5, 6, 8, 9, 0])]), uint32(random.pick(numbers))]),
    ),
  );
const message = (random: Random): Buffer => {
  const length = random.oneIn(6) ? random.below(40_000) : random.below(60);
  // What the prefix of the message says and what follows need not agree.
  const prefix = Buffer.from([random.oneIn(8) ? random.below(256) : 0, ...uint32(random.oneIn(6) ? random.pick(numbers) : length)]);
  return Buffer.concat([prefix, Buffer.alloc(Math.min(length, 16_379), 0x61)]);
};
const padded = (random: Random, payload: Buffer): Buffer => {
  const padding = random.pick([0, 1, 7, 255]);
  return Buffer.concat([Buffer.from([random.oneIn(5) ? random.below(256) : padding]), payload, Buffer.alloc(padding)]);
};

/** A frame that makes sense somewhere. */
const anyFrame = (random: Random): WireFrame => {
  const id = random.pick(ids);
  switch (random.below(14)) {
    case 0:
    case 1:
      return wireFrame(headers, random.pick([4, 5, 5, 0, 1]), id, fieldBlock(anyFields(random)));
    case 2:
    case 3:
      return wireFrame(data, random.pick([0, 1]), id, message(random));
    case 4:
      return wireFrame(data, random.pick([8, 9]), id, padded(random, message(random)));
    case 5:
      return wireFrame(settings, random.oneIn(4) ? 1 : 0, 0, random.oneIn(4) ? Buffer.alloc(0) : anySettings(random));
    case 6:
    case 7:
      return wireFrame(windowUpdate, 0, id, uint32(random.pick(numbers)));
    case 8:
      return wireFrame(rstStream, 0, id, uint32(random.below(15)));
    case 9:
      return wireFrame(
        ping,
        random.pick([0, 1]),
        0,
        random.oneIn(2) ? random.bytes(8) : Buffer.from([random.below(4), 0, 0, 0, 0, 0, 0, 1]),
      );
    case 10:
      return wireFrame(goAway, 0, 0, Buffer.concat([uint32(random.pick(ids)), uint32(random.below(14)), Buffer.from('bye')]));
    case 11:
      return wireFrame(2, 0, id, Buffer.concat([uint32(random.pick(ids)), Buffer.from([16])]));
    case 12:
      return wireFrame(
        headers,
        0x2c | random.below(2),
        id,
        padded(random, Buffer.concat([uint32(0), Buffer.from([1]), fieldBlock(anyFields(random))])),
      );
    default:
      return wireFrame(random.below(256), random.below(256), id, random.bytes(random.below(30)));
  }
};

const anyAct = (random: Random): WireFrame =>
  actFrame(random.pick(Object.values(Act)), random.pick([0, 0, 0, 1, 1, 2, 3, 200]), random.below(256), random.below(256));

type Edit = (random: Random, frames: WireFrame[], other: readonly WireFrame[]) => void;

const anyOf = (random: Random, frames: readonly WireFrame[]): number => random.below(frames.length);
const swapIn = (frames: WireFrame[], at: number, change: Partial<WireFrame>): void => {
  const old = frames[at];
  if (old !== undefined) frames[at] = { ...old, ...change };
};

const edits: readonly Edit[] = [
  (random, frames) => void frames.splice(anyOf(random, frames), 1),
  (random, frames) => {
    const at = anyOf(random, frames);
    const copies = random.oneIn(10) ? random.between(2, 60) : 1;
    const one = frames[at];
    if (one !== undefined) frames.splice(at, 0, ...Array.from({ length: copies }, () => one));
  },
  (random, frames) => {
    const [one] = frames.splice(anyOf(random, frames), 1);
    if (one !== undefined) frames.splice(random.below(frames.length + 1), 0, one);
  },
  (random, frames) => void frames.splice(random.below(frames.length + 1), 0, anyFrame(random)),
  (random, frames) => void frames.splice(random.below(frames.length + 1), 0, anyFrame(random), anyFrame(random)),
  (random, frames) => void frames.splice(random.below(frames.length + 1), 0, anyAct(random)),
  (random, frames) => void frames.splice(random.below(frames.length + 1), 0, anyAct(random), anyAct(random)),
  (random, frames, other) => {
    const start = anyOf(random, other);
    frames.splice(random.below(frames.length + 1), 0, ...other.slice(start, start + random.between(1, 12)));
  },
  (random, frames, other) => {
    frames.length = random.below(frames.length + 1);
    frames.push(...other.slice(anyOf(random, other)));
  },
  (random, frames) => swapIn(frames, anyOf(random, frames), { id: random.pick(ids) }),
  (random, frames) => {
    // The same conversation on another stream.
    const from = frames[anyOf(random, frames)]?.id;
    const to = random.pick(ids);
    frames.forEach((one, i) => {
      if (one.id === from && one.type !== actFrameType && one.id !== 0) frames[i] = { ...one, id: to };
    });
  },
  (random, frames) => {
    const at = anyOf(random, frames);
    swapIn(frames, at, { flags: (frames[at]?.flags ?? 0) ^ random.pick([1, 4, 8, 32, 1 << random.below(8)]) });
  },
  (random, frames) => swapIn(frames, anyOf(random, frames), { type: random.oneIn(4) ? random.below(256) : random.below(11) }),
  (random, frames) => swapIn(frames, anyOf(random, frames), { claimedBytes: random.pick([0, 1, 4, 5, 8, 16_384, 16_385, 0xff_ffff]) }),
  (random, frames) => {
    const at = anyOf(random, frames);
    const one = frames[at];
    if (one === undefined) return;
    const payload = Buffer.from(one.payload);
    frames[at] = { ...one, payload: mutateBytes(random, payload, payload) };
  },
  (random, frames) => {
    const at = anyOf(random, frames);
    const one = frames[at];
    if (one === undefined || one.payload.length < 4) return;
    const payload = Buffer.from(one.payload);
    payload.writeUInt32BE(random.pick(numbers), payload.length - 4);
    frames[at] = { ...one, payload };
  },
  // A header block: its fields, and the frames that it comes in.
  (random, frames) => {
    const blocks = frames.flatMap((one, i) => (one.type === headers ? [i] : []));
    const at = random.pick(blocks);
    const one = at === undefined ? undefined : frames[at];
    if (one !== undefined && at !== undefined) frames[at] = { ...one, payload: mutateBlock(random, one.payload) };
  },
  (random, frames) => {
    const at = frames.findIndex(({ type }) => type === headers);
    const one = frames[at];
    if (one === undefined) return;
    const parts = random.oneIn(4) ? random.between(2, 12) : 2;
    const size = Math.ceil((one.payload.length + 1) / parts);
    const split = Array.from({ length: parts }, (_, i) => one.payload.subarray(i * size, (i + 1) * size)).map((payload, i) =>
      wireFrame(i === 0 ? headers : continuation, i === parts - 1 ? endHeaders : i === 0 ? one.flags & ~endHeaders : 0, one.id, payload),
    );
    frames.splice(at, 1, ...split);
  },
  (random, frames) =>
    void frames.splice(
      random.below(frames.length + 1),
      0,
      wireFrame(continuation, random.pick([0, 4]), random.pick(ids), fieldBlock(anyFields(random))),
    ),
  (random, frames) => void frames.splice(random.below(frames.length + 1), 0, wireFrame(settings, 0, 0, anySettings(random))),
  (random, frames) => {
    // One DATA frame in two, or as many as it has bytes.
    const at = frames.findIndex(({ type }) => type === data);
    const one = frames[at];
    if (one === undefined || one.payload.length === 0 || (one.flags & 8) !== 0) return;
    const size = random.oneIn(3) ? 1 : Math.ceil(one.payload.length / 2);
    const parts = Math.min(64, Math.ceil(one.payload.length / size));
    const split = Array.from({ length: parts }, (_, i) =>
      wireFrame(
        data,
        i === parts - 1 ? one.flags : one.flags & ~1,
        one.id,
        one.payload.subarray(i * size, i === parts - 1 ? undefined : (i + 1) * size),
      ),
    );
    frames.splice(at, 1, ...split);
  },
];

/** One change of a sequence of frames, behind `skip` bytes that mean something else. */
export const mutateFrames = (random: Random, input: Buffer, other: Buffer, skip: number): Buffer => {
  const { frames, rest } = readFrames(input.subarray(skip));
  random.pick(edits)(random, frames, readFrames(other.subarray(skip)).frames);
  return Buffer.concat([input.subarray(0, skip), writeFrames(frames), rest]);
};
