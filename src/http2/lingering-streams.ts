import { Deadline } from '../core/index.ts';
import type { Engine } from './engine.ts';
import type { Stream } from './stream.ts';

/** The end of a unary request stands right behind its headers, so that most requests end at once. */
const lingerMs = 100;
/** More of a request than this is not read for nothing. */
const mostDiscardedBytes = 64 * 1024;

/** Whoever resets a stream whose request does not end. */
export interface LingeringStreamsOwner {
  onLingerEnd(stream: Stream): void;
}

/** A link of the list. A stream has one only while it lingers. */
export class Lingering {
  readonly stream: Stream | undefined;
  readonly dueMs: number;
  discardedBytes = 0;
  previous: Lingering = this;
  next: Lingering = this;

  constructor(stream: Stream | undefined, dueMs: number) {
    this.stream = stream;
    this.dueMs = dueMs;
  }
}

/**
 * Streams whose answer is complete before their request (RFC 9113 8.1). Their owner is done with them; the client is given a moment to end
 * its half, since simple clients take a reset that follows at once for a failure, and lose the answer. What still comes is dropped and
 * given no credit.
 *
 * All wait equally long, so that one list in the order of their beginning and one deadline for its head serve them all.
 */
export class LingeringStreams extends Deadline {
  readonly #engine: Engine;
  readonly #owner: LingeringStreamsOwner;
  readonly #list = new Lingering(undefined, 0);

  constructor(engine: Engine, owner: LingeringStreamsOwner) {
    super();
    this.#engine = engine;
    this.#owner = owner;
  }

  add(stream: Stream): void {
    const { nowMs, wheel } = this.#engine;
    const link = new Lingering(stream, nowMs + lingerMs);
    const list = this.#list;
    stream.lingering = link;
    link.previous = list.previous;
    link.next = list;
    list.previous.next = link;
    list.previous = link;
    if (list.next === link) wheel.arm(this, link.dueMs);
  }

  /** Whatever ended it; harmless where it does not linger. */
  remove(stream: Stream): void {
    const link = stream.lingering;
    if (link === undefined) return;
    stream.lingering = undefined;
    link.previous.next = link.next;
    link.next.previous = link.previous;
    if (this.#list.next === this.#list) this.#engine.wheel.cancel(this);
  }

  /** More of its request has come. */
  discard(stream: Stream, bytes: number): void {
    const link = stream.lingering;
    if (link === undefined) return;
    link.discardedBytes += bytes;
    if (link.discardedBytes > mostDiscardedBytes) this.#owner.onLingerEnd(stream);
  }

  expire(): void {
    const nowMs = this.#engine.tick();
    const list = this.#list;
    // Its owner removes each, and the last one's end may close the connection.
    while (list.next.stream !== undefined && list.next.dueMs <= nowMs) this.#owner.onLingerEnd(list.next.stream);
    if (list.next !== list) this.#engine.wheel.arm(this, list.next.dueMs);
  }
}
