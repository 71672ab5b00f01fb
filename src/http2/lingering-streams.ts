import { Deadline } from '../core/index.ts';
import type { Engine } from './engine.ts';
import type { Stream } from './stream.ts';

/** The end of a unary request stands right behind its headers, so that most requests end at once. */
const lingerMs = 100;
/** More of a request than this is not read for nothing. */
const mostDiscardedBytes = 64 * 1024;

/** Whoever resets a stream whose request does not end, and wakes clients whose request did. */
export interface LingeringStreamsOwner {
  onLingerEnd(stream: Stream): void;
  wakeClient(): void;
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
 *
 * curl 7.88 ends its request, has its answer, and notices only when the next bytes come: it would wait for ever. So it is
 * sent some, seldom enough to be nobody's burden.
 */
export class LingeringStreams {
  readonly #deadline = new Deadline(this);
  readonly #engine: Engine;
  readonly #owner: LingeringStreamsOwner;
  readonly #list = new Lingering(undefined, Number.POSITIVE_INFINITY);
  /** Clients may be woken again from here on. */
  #wakeFromMs = 0;
  #wakeOwed = false;

  constructor(engine: Engine, owner: LingeringStreamsOwner) {
    this.#engine = engine;
    this.#owner = owner;
  }

  add(stream: Stream): void {
    const link = new Lingering(stream, this.#engine.nowMs + lingerMs);
    const list = this.#list;
    stream.lingering = link;
    link.previous = list.previous;
    link.next = list;
    list.previous.next = link;
    list.previous = link;
    if (list.next === link) this.#arm();
  }

  /** Whatever ended it; harmless where it does not linger. */
  remove(stream: Stream): void {
    const link = stream.lingering;
    if (link === undefined) return;
    stream.lingering = undefined;
    link.previous.next = link.next;
    link.next.previous = link.previous;
    if (this.#list.next === this.#list) this.#arm();
  }

  /** The client has ended its request. */
  onRequestEnd(): void {
    if (this.#wakeOwed) return;
    this.#wakeOwed = true;
    if (this.#engine.nowMs >= this.#wakeFromMs) this.#wake();
    else this.#arm();
  }

  /** The connection has ended, and so have all its streams. */
  close(): void {
    this.#wakeOwed = false;
    this.#arm();
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
    if (this.#wakeOwed && nowMs >= this.#wakeFromMs) this.#wake();
    // Its owner removes each, and the last one's end may close the connection.
    while (list.next.stream !== undefined && list.next.dueMs <= nowMs) this.#owner.onLingerEnd(list.next.stream);
    this.#arm();
  }

  #wake(): void {
    this.#wakeOwed = false;
    this.#wakeFromMs = this.#engine.nowMs + lingerMs;
    this.#owner.wakeClient();
  }

  /** For the head of the list or the client to wake, whichever is due first. */
  #arm(): void {
    const wakeMs = this.#wakeOwed ? this.#wakeFromMs : Number.POSITIVE_INFINITY;
    this.#engine.wheel.arm(this.#deadline, Math.min(this.#list.next.dueMs, wakeMs));
  }
}
