import { type FrameBudgets, TokenBucket } from './abuse-limits.ts';
import type { Connection, ConnectionHandler } from './connection.ts';
import type { ConnectionLife } from './connection-life.ts';
import type { ConnectionParts } from './connection-parts.ts';
import type { ConnectionStreams } from './connection-streams.ts';
import type { ControlSender } from './control-sender.ts';
import type { DataSender } from './flow-control.ts';
import { ErrorCode, Flag, largestWindowBytes, readUint31, readUint32 } from './frames.ts';
import { type OwnPings, PingKind } from './own-pings.ts';
import type { ReceiveWindow } from './receive-window.ts';

const pingBytes = 8;
/** A stream younger than this that its peer resets looks like Rapid Reset; an older one like somebody who gave up. */
const hastyResetMs = 1_000;

/** Frames about a stream or the connection that belong to no message, apart from SETTINGS: PRIORITY, RST_STREAM, PING, GOAWAY, WINDOW_UPDATE. */
export class ControlReceiver {
  readonly #connection: Connection;
  readonly #handler: ConnectionHandler;
  readonly #life: ConnectionLife;
  readonly #streams: ConnectionStreams;
  readonly #control: ControlSender;
  readonly #pings: OwnPings;
  readonly #receiving: ReceiveWindow;
  readonly #data: DataSender;
  readonly #budgets: FrameBudgets;
  readonly #peerResets: TokenBucket;
  /** Resets of streams that were over already. */
  #crossedResets = 0;

  constructor(parts: ConnectionParts) {
    const { engine, options } = parts.connection;
    this.#connection = parts.connection;
    this.#handler = parts.handler;
    this.#life = parts.life;
    this.#streams = parts.streams;
    this.#control = parts.control;
    this.#pings = parts.pings;
    this.#receiving = parts.receiving;
    this.#data = parts.sender.data;
    this.#budgets = parts.budgets;
    this.#peerResets = new TokenBucket(options.resetBurst, options.resetsPerSecond, engine.clock.now());
  }

  onPriority(streamId: number, bytes: Buffer, start: number, end: number): void {
    const { counters, options } = this.#connection;
    if (streamId === 0) this.#connection.protocolError(ErrorCode.protocolError, 'PRIORITY on stream 0 (RFC 9113 6.3)');
    else if (end - start !== 5) this.#streams.failById(streamId, ErrorCode.frameSizeError, 'PRIORITY must have 5 bytes (RFC 9113 6.3)');
    else if (readUint31(bytes, start) === streamId) {
      this.#streams.failById(streamId, ErrorCode.protocolError, 'a stream depends on itself (RFC 7540 5.3.1)');
    } else if (++this.#budgets.priorityFrames > options.maxPriorityFramesPerStream * (1 + this.#budgets.streamsOpened)) {
      counters.inboundPriorityFramesFlood++;
      this.#connection.protocolError(ErrorCode.enhanceYourCalm, 'too many PRIORITY frames');
    }
  }

  onRstStream(streamId: number, bytes: Buffer, start: number, end: number): void {
    const connection = this.#connection;
    const { ids } = this.#streams;
    if (end - start !== 4) {
      connection.protocolError(ErrorCode.frameSizeError, 'RST_STREAM must have 4 bytes (RFC 9113 6.4)');
      return;
    }
    if (ids.isIdle(streamId)) {
      connection.protocolError(ErrorCode.protocolError, 'RST_STREAM on an idle stream (RFC 9113 6.4)');
      return;
    }
    connection.counters.rxReset++;
    ids.forgetRefused(streamId);
    const stream = this.#streams.get(streamId);
    // Its answer was complete: a client that takes back the rest of its request costs us nothing.
    if (stream?.closed) {
      this.#streams.endLingering(stream);
      return;
    }
    const code = readUint32(bytes, start);
    const nowMs = connection.engine.clock.now();
    // An honest caller gives up late, or at its own deadline, which the owner has told us; what it sent may have waited before it was read.
    const hasty = stream !== undefined && nowMs - stream.openedAtMs + connection.inputDelayMs < Math.min(stream.patienceMs, hastyResetMs);
    if (stream !== undefined) {
      this.#streams.discard(stream);
      // A server that has answered in full may reset what is left of the request: that is no failure of the answer (RFC 9113 8.1).
      const answered = connection.role === 'client' && stream.remoteEnded && code === ErrorCode.noError;
      if (!answered) stream.handler.onReset(stream, code, code === ErrorCode.refusedStream);
    } else if (++this.#crossedResets <= this.#budgets.streamsOpened) {
      // It crossed a complete answer, as all do that leave at the deadline which both sides know: once for each stream.
      return;
    } else if (ids.isBeyondGoAway(streamId) || ids.wasReset(streamId)) {
      // Many clients reset a stream whose answer came before their request was complete: that is our doing.
      return;
    }
    if (connection.role === 'server' && !this.#peerResets.take(hasty ? 1 : 0.25, nowMs)) {
      connection.counters.rapidReset++;
      connection.protocolError(ErrorCode.enhanceYourCalm, 'too many streams were reset (rapid reset)');
    }
    if (stream !== undefined) connection.onStreamGone();
  }

  onPing(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    if (streamId !== 0) this.#connection.protocolError(ErrorCode.protocolError, 'PING on a stream (RFC 9113 6.7)');
    else if (end - start !== pingBytes) this.#connection.protocolError(ErrorCode.frameSizeError, 'PING must have 8 bytes (RFC 9113 6.7)');
    else if ((flags & Flag.ack) === 0) this.#control.pingAck(bytes, start);
    else this.#onPingAck(bytes[start] as number, readUint32(bytes, start + 4));
  }

  #onPingAck(kind: number, sequence: number): void {
    if (kind === PingKind.owner) this.#pings.onOwnerAck(sequence);
    else if (kind === PingKind.bandwidth) this.#receiving.onRoundTrip();
    else if (kind === PingKind.drain) this.#life.onDrainRoundTrip();
    else if (kind === PingKind.delay) this.#connection.onDelayAnswered();
  }

  onGoAway(streamId: number, bytes: Buffer, start: number, end: number): void {
    const connection = this.#connection;
    if (streamId !== 0) {
      connection.protocolError(ErrorCode.protocolError, 'GOAWAY on a stream (RFC 9113 6.8)');
      return;
    }
    if (end - start < 8) {
      connection.protocolError(ErrorCode.frameSizeError, 'GOAWAY must have 8 bytes at least (RFC 9113 6.8)');
      return;
    }
    connection.counters.goAwayReceived++;
    const lastStreamId = readUint31(bytes, start);
    const code = readUint32(bytes, start + 4);
    const debugData = Buffer.from(bytes.subarray(start + 8, Math.min(end, start + 8 + 256))).toString('latin1');
    connection.goingAway = true;
    connection.lastProcessedStreamId = Math.min(connection.lastProcessedStreamId, lastStreamId);
    this.#handler.onGoAway(connection, lastStreamId, code, debugData);
    if (connection.role === 'client') this.#streams.dropUnprocessed(lastStreamId);
    this.#life.closeWhenIdle();
  }

  onWindowUpdate(streamId: number, bytes: Buffer, start: number, end: number): void {
    const connection = this.#connection;
    if (end - start !== 4) {
      connection.protocolError(ErrorCode.frameSizeError, 'WINDOW_UPDATE must have 4 bytes (RFC 9113 6.9)');
      return;
    }
    this.#budgets.windowUpdates++;
    this.#budgets.dataFramesSent = this.#data.framesSent;
    if (this.#budgets.tooManyWindowUpdates) {
      connection.counters.inboundWindowUpdateFramesFlood++;
      connection.protocolError(ErrorCode.enhanceYourCalm, 'too many WINDOW_UPDATE frames');
      return;
    }
    const increment = readUint31(bytes, start);
    if (streamId === 0) this.#onConnectionCredit(increment);
    else if (this.#streams.ids.isIdle(streamId)) {
      connection.protocolError(ErrorCode.protocolError, 'WINDOW_UPDATE on an idle stream (RFC 9113 5.1)');
    } else this.#onStreamCredit(streamId, increment);
  }

  #onConnectionCredit(increment: number): void {
    if (increment === 0) this.#connection.protocolError(ErrorCode.protocolError, 'WINDOW_UPDATE of 0 (RFC 9113 6.9)');
    else if (!this.#data.grow(increment)) {
      this.#connection.protocolError(ErrorCode.flowControlError, "the connection's window overflows (RFC 9113 6.9.1)");
    } else this.#data.pump();
  }

  #onStreamCredit(streamId: number, increment: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    if (increment === 0) this.#streams.fail(stream, ErrorCode.protocolError, 'WINDOW_UPDATE of 0 (RFC 9113 6.9)');
    else if (stream.sendWindow + increment > largestWindowBytes) {
      this.#streams.fail(stream, ErrorCode.flowControlError, "the stream's window overflows (RFC 9113 6.9.1)");
    } else {
      stream.sendWindow += increment;
      this.#data.onStreamCredit(stream);
    }
  }
}
