import assert from 'node:assert/strict';
import type { Connection, ConnectionCloseCause, ConnectionHandler, HeaderBlock, Stream, StreamHandler } from '../../src/http2/index.ts';
import { blockOf, bodyOf, okTrailers, requestFields, responseFields } from '../http2/http2-bench.ts';
import { Act } from './wire-frames.ts';

/** What an owner does within a callback, where engines are most easily surprised. */
export const Reaction = { nothing: 0, consume: 1, reset: 2, answer: 3, release: 4, endAll: 5, openAnother: 6, drain: 7 } as const;
const reactions = Object.values(Reaction);

const mostStreams = 300;
const mostQueuedBytes = 400_000;

/** One stream: what its owner heard, which must be a story that makes sense. */
export class ScriptedStream implements StreamHandler {
  readonly owner: ScriptedOwner;
  stream: Stream | undefined;
  heardHeaders = false;
  heardEnd = false;
  heardReset = false;
  ownReset = false;
  sentBytes = 0;
  sentLaterBytes = 0;
  queuedBytes = 0;

  constructor(owner: ScriptedOwner, stream?: Stream) {
    this.owner = owner;
    this.stream = stream;
  }

  onHeaders(stream: Stream, _block: HeaderBlock, endStream: boolean): void {
    this.#hear(stream);
    assert.ok(!this.heardHeaders && this.owner.role === 'client', 'response headers come once');
    this.heardHeaders = true;
    if (endStream) this.#end();
    this.owner.react(this, 0);
  }

  onData(stream: Stream, bytes: Buffer, start: number, end: number, endStream: boolean): void {
    this.#hear(stream);
    assert.ok(this.heardHeaders, 'DATA comes after headers');
    assert.ok(start >= 0 && start <= end && end <= bytes.length, 'a range within the bytes');
    if (endStream) this.#end();
    if (this.owner.consumesAtOnce) stream.consume(end - start);
    this.owner.react(this, 1);
  }

  onTrailers(stream: Stream): void {
    this.#hear(stream);
    assert.ok(this.heardHeaders, 'trailers come after headers');
    this.#end();
    this.owner.react(this, 2);
  }

  onReset(stream: Stream): void {
    assert.ok(!this.heardReset, 'one reset');
    assert.ok(!this.ownReset, 'whoever resets hears nothing more');
    assert.ok(stream.closed, 'closed when its owner hears of it');
    this.heardReset = true;
    this.owner.react(this, 3);
  }

  onSent(_stream: Stream, bytes: number): void {
    assert.ok(bytes > 0, 'something left');
    this.sentLaterBytes += bytes;
    assert.ok(this.sentLaterBytes <= this.queuedBytes, 'no more left than waited');
  }

  #hear(stream: Stream): void {
    assert.ok(this.stream === undefined || this.stream === stream, 'its own stream');
    assert.ok(!this.heardReset && !this.ownReset, 'nothing is heard after the end');
    assert.ok(!this.heardEnd, 'nothing is heard after END_STREAM but a reset');
  }

  #end(): void {
    this.heardEnd = true;
  }
}

/** The owner of the connection under test: it does what the input says, also when it is too late, and keeps to the engine's rules for owners. */
export class ScriptedOwner implements ConnectionHandler {
  readonly role: 'client' | 'server';
  readonly consumesAtOnce: boolean;
  readonly streams: ScriptedStream[] = [];
  causes: ConnectionCloseCause[] = [];
  connection!: Connection;
  readonly #reactions: number;
  #depth = 0;

  constructor(role: 'client' | 'server', consumesAtOnce: boolean, reactionSeed: number) {
    this.role = role;
    this.consumesAtOnce = consumesAtOnce;
    this.#reactions = reactionSeed;
  }

  onReady(connection: Connection): void {
    assert.ok(connection.ready);
    if (this.#reactions & 64) this.act(Act.open, 0, 1, 0);
  }

  onRequest(connection: Connection, stream: Stream, block: HeaderBlock, endStream: boolean): void {
    assert.equal(this.role, 'server');
    assert.equal(connection, this.connection);
    assert.ok(block.count > 0, 'a request has fields');
    assert.ok(this.causes.length === 0, 'no request after the end');
    const scripted = new ScriptedStream(this, stream);
    scripted.heardHeaders = true;
    scripted.heardEnd = endStream;
    stream.handler = scripted;
    this.streams.push(scripted);
    this.react(scripted, 4);
  }

  onCapacity(): void {
    if (this.#reactions & 128 && this.streams.length < 40) this.act(Act.open, 0, 1, 0);
  }

  onGoAway(): void {}

  onClose(connection: Connection, cause: ConnectionCloseCause): void {
    assert.equal(connection.activeStreams, 0, 'every stream has heard of its end');
    this.causes.push(cause);
    assert.equal(this.causes.length, 1, 'closed once');
    for (const { stream } of this.streams) if (stream !== undefined) assert.ok(stream.closed, 'a stream outlives its connection');
  }

  /** A reaction is drawn from the input's byte and the kind of event, so that most inputs react somewhere and none everywhere. */
  react(to: ScriptedStream, event: number): void {
    const { stream } = to;
    if (stream === undefined || this.#depth > 2) return;
    const drawn = (this.#reactions * 7 + event * 13 + (stream.id >> 1) * 5) % 29;
    const reaction = reactions[drawn];
    this.#depth++;
    if (reaction === Reaction.consume) stream.consume(1 + (this.#reactions & 31) * 100);
    else if (reaction === Reaction.reset) this.#do(Act.reset, to, 8, 0);
    else if (reaction === Reaction.answer) {
      this.#do(Act.sendHeaders, to, 0, 0);
      this.#do(Act.sendData, to, 20, 0);
      this.#do(Act.sendTrailers, to, 0, 0);
    } else if (reaction === Reaction.release) stream.release();
    else if (reaction === Reaction.endAll && event === 3) for (const other of this.streams.slice(0, 10)) this.#do(Act.reset, other, 8, 0);
    else if (reaction === Reaction.openAnother) this.act(Act.open, 0, 0, 0);
    else if (reaction === Reaction.drain && (this.#reactions & 3) === 3) this.connection.drain('a reaction');
    this.#depth--;
  }

  act(act: number, a: number, b: number, c: number): void {
    const { connection } = this;
    if (act === Act.open) {
      if (this.role === 'client' && connection.canOpen && this.streams.length < mostStreams) {
        const scripted = new ScriptedStream(this);
        this.streams.push(scripted);
        const opened = connection.open(scripted, blockOf(requestFields), (b & 1) === 1);
        assert.ok(scripted.stream === undefined || scripted.stream === opened);
        scripted.stream = opened;
      }
    } else if (act === Act.ping) {
      if (!connection.closed) connection.ping((rttMs) => assert.ok(rttMs >= 0));
    } else if (act === Act.drain) connection.drain('drained by the script');
    else if (act === Act.goAway) connection.goAway(b % 14, 'ended by the script');
    else if (act === Act.destroy) connection.destroy();
    else {
      const chosen = this.streams[this.streams.length === 0 ? 0 : a % this.streams.length];
      if (chosen !== undefined) this.#do(act, chosen, b, c);
    }
  }

  #do(act: number, to: ScriptedStream, b: number, c: number): void {
    const { stream } = to;
    if (stream === undefined) return;
    const sizeBytes = b * 256 + c;
    switch (act) {
      case Act.sendHeaders:
        if (this.role === 'server' && !stream.headersSent) stream.sendHeaders(blockOf(responseFields), (b & 15) === 15);
        break;
      case Act.sendData: {
        if (!stream.headersSent || stream.localEnded || stream.closed || stream.queuedBytes > mostQueuedBytes) break;
        const leftBytes = stream.sendData(bodyOf(sizeBytes, a8(stream.id)), 0, sizeBytes, (c & 15) === 15);
        assert.ok(leftBytes >= 0 && leftBytes <= sizeBytes, 'no more leaves than was given');
        to.queuedBytes += sizeBytes - leftBytes;
        to.sentBytes += sizeBytes;
        break;
      }
      case Act.sendTrailers:
        if (stream.headersSent) stream.sendTrailers(blockOf(okTrailers));
        break;
      case Act.reset:
        if (stream.closed) {
          // The connection is lost, and whoever ends its stream before it has heard so hears nothing more either.
          to.ownReset ||= stream.lossUntold;
          stream.reset();
          break;
        }
        to.ownReset = true;
        stream.reset(b % 14);
        assert.ok(stream.closed, 'a reset ends at once');
        break;
      case Act.consume:
        stream.consume(sizeBytes);
        break;
      case Act.release:
        stream.release();
        break;
      default:
    }
  }
}

const a8 = (id: number): number => id & 0xff;
