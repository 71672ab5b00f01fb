const fewestRememberedResets = 256;
const mostRememberedResets = 16_384;
/** A power of two: as many of the newest. */
const rememberedRefusals = 1_024;

/**
 * Which stream ids of one connection were used, by whom, and how they ended (RFC 9113 5.1.1): what tells a frame that comes late
 * from one that must never come.
 */
export class StreamIds {
  /** The id of the next stream that we open. */
  nextOwn = 1;
  /** The highest id that the peer has opened. */
  lastOfPeer = 0;
  /** Our final GOAWAY is out: streams above `lastOfPeer` are not looked at any more. */
  sealed = false;
  readonly #role: 'client' | 'server';
  readonly #maxConcurrentStreams: number;
  /** Streams that we reset, of which the peer may not have heard. Made with the first one: most connections reset none. */
  #resets: Int32Array | undefined;
  #resetCount = 0;
  /** Streams that were refused with an answer, and whose clients have not ended their requests. Made with the first one. */
  #refused: Int32Array | undefined;

  constructor(role: 'client' | 'server', maxConcurrentStreams: number) {
    this.#role = role;
    this.#maxConcurrentStreams = maxConcurrentStreams;
  }

  /** The stream was never opened: only HEADERS may come on it. */
  isIdle(streamId: number): boolean {
    if ((streamId & 1) === 0) return true;
    return this.#role === 'server' ? streamId > this.lastOfPeer && !this.sealed : streamId >= this.nextOwn;
  }

  /** A stream that the peer opened beyond our final GOAWAY: the peer knows that it was not processed (RFC 9113 6.8). */
  isBeyondGoAway(streamId: number): boolean {
    return this.sealed && (streamId & 1) === 1 && streamId > this.lastOfPeer;
  }

  /**
   * A peer may send on a stream until it has read our reset. It counts a stream as open until then, so no more of them than it may have
   * open can be unread at once: that many are remembered, and an honest peer is never taken for one that sends on closed streams.
   */
  rememberReset(streamId: number): void {
    const limit = this.#role === 'server' ? this.#maxConcurrentStreams : 0;
    this.#resets ??= new Int32Array(Math.min(Math.max(limit, fewestRememberedResets), mostRememberedResets));
    this.#resets[this.#resetCount++ % this.#resets.length] = streamId;
  }

  /** Returns the id of an earlier one that has not been ended since, and is forgotten now; 0 for none. */
  rememberRefused(streamId: number): number {
    this.#refused ??= new Int32Array(rememberedRefusals);
    const slot = (streamId >> 1) % rememberedRefusals;
    const forgotten = this.#refused[slot] as number;
    this.#refused[slot] = streamId;
    return forgotten;
  }

  wasRefused(streamId: number): boolean {
    return this.#refused !== undefined && this.#refused[(streamId >> 1) % rememberedRefusals] === streamId;
  }

  /** Its client has ended or reset it, or has been told to. */
  forgetRefused(streamId: number): void {
    if (this.#refused !== undefined && this.wasRefused(streamId)) this.#refused[(streamId >> 1) % rememberedRefusals] = 0;
  }

  wasReset(streamId: number): boolean {
    return this.#resets?.includes(streamId) ?? false;
  }
}
