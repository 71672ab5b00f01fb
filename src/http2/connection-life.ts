import type { Duplex } from 'node:stream';
import { Deadline } from '../core/index.ts';
import type { Connection, ConnectionHandler } from './connection.ts';
import type { ConnectionStreams } from './connection-streams.ts';
import type { ControlSender } from './control-sender.ts';
import { ErrorCode, errorCodeName, largestStreamId } from './frames.ts';
import type { Output } from './output.ts';
import { type OwnPings, PingKind } from './own-pings.ts';

export interface ConnectionCloseCause {
  /** Who or what ended it: the peer closed the socket, we did, the socket failed, somebody broke the protocol, time ran out. */
  readonly kind: 'peer' | 'local' | 'error' | 'protocol' | 'timeout';
  /** HTTP/2 error code. */
  readonly code: number;
  readonly message: string;
}

const closeGraceMs = 1_000;
const drainRoundTripMs = 2_000;

type Phase = 'preface' | 'first-request' | 'open' | 'draining' | 'closing';

/**
 * The phases of a connection, each with the deadline that it has, and its end: in order after a drain, with GOAWAY after an error,
 * or without a word when the socket is gone. It is the deadline of the present phase.
 */
export class ConnectionLife {
  readonly #deadline = new Deadline(this);
  /** Why it was closed; `undefined` while it lives. */
  closeCause: ConnectionCloseCause | undefined;
  readonly #connection: Connection;
  readonly #socket: Duplex;
  readonly #handler: ConnectionHandler;
  readonly #output: Output;
  readonly #control: ControlSender;
  readonly #pings: OwnPings;
  readonly #streams: ConnectionStreams;
  #phase: Phase = 'preface';
  #drainBegun = false;
  #drainDebugData = '';

  constructor(
    connection: Connection,
    handler: ConnectionHandler,
    output: Output,
    control: ControlSender,
    pings: OwnPings,
    streams: ConnectionStreams,
  ) {
    this.#connection = connection;
    this.#socket = connection.socket;
    this.#handler = handler;
    this.#output = output;
    this.#control = control;
    this.#pings = pings;
    this.#streams = streams;
    this.#arm(connection.options.prefaceTimeoutMs);
    this.#socket.on('error', this.#onSocketError);
    this.#socket.on('end', this.#onSocketEnd);
    this.#socket.on('close', this.#onSocketEnd);
  }

  // ---- phases ----

  /** The peer's first SETTINGS have come. A drain that has begun meanwhile keeps its own deadline. */
  onFirstSettings(): void {
    const { options, role } = this.#connection;
    if (this.#phase !== 'preface') return;
    this.#phase = role === 'server' ? 'first-request' : 'open';
    if (role === 'server') this.#arm(options.firstRequestTimeoutMs);
    else this.#disarm();
  }

  /** Server role: a stream has come. */
  onRequest(): void {
    if (this.#phase !== 'first-request') return;
    this.#phase = 'open';
    this.#disarm();
  }

  /** What the present phase waited for has not come. */
  expire(): void {
    switch (this.#phase) {
      case 'preface':
        this.#connection.counters.prefaceTimeout++;
        this.fail({ kind: 'timeout', code: ErrorCode.settingsTimeout, message: 'the preface and first SETTINGS did not come in time' });
        break;
      case 'first-request':
        this.#connection.counters.firstRequestTimeout++;
        this.fail({ kind: 'timeout', code: ErrorCode.noError, message: 'no request came in time' });
        break;
      case 'draining':
        this.#finishDrain();
        break;
      case 'closing':
        this.#socket.destroy();
        break;
      default:
    }
  }

  // ---- the end in order ----

  /** `Connection.drain`. */
  drain(debugData: string): void {
    const connection = this.#connection;
    if (connection.closed || this.#drainBegun) return;
    this.#drainBegun = true;
    connection.goingAway = true;
    if (connection.role === 'client') {
      this.#control.goAway(0, ErrorCode.noError, debugData);
      this.closeWhenIdle();
      return;
    }
    this.#phase = 'draining';
    this.#drainDebugData = debugData;
    this.#control.goAway(largestStreamId, ErrorCode.noError, debugData);
    this.#pings.send(PingKind.drain);
    this.#arm(drainRoundTripMs);
  }

  /** Streams that were on their way when the drain began have arrived. */
  onDrainRoundTrip(): void {
    if (this.#phase === 'draining') this.#finishDrain();
  }

  #finishDrain(): void {
    const { ids } = this.#streams;
    this.#disarm();
    this.#phase = 'open';
    ids.sealed = true;
    this.#control.goAway(ids.lastOfPeer, ErrorCode.noError, this.#drainDebugData);
    this.closeWhenIdle();
  }

  /** Ends a connection that takes no more streams, once the last one is done. */
  closeWhenIdle(): void {
    if (this.#connection.closed || this.#streams.size > 0) return;
    // A server between its two GOAWAYs still awaits streams that are on their way.
    if (this.#phase === 'draining') return;
    this.#end({ kind: 'local', code: ErrorCode.noError, message: 'drained' });
  }

  // ---- the end ----

  protocolError(code: number, message: string): void {
    this.fail({ kind: 'protocol', code, message: `${errorCodeName(code)}: ${message}` });
  }

  /** Says GOAWAY and ends. */
  fail(cause: ConnectionCloseCause): void {
    if (this.#connection.closed) return;
    this.#control.goAway(this.#streams.ids.lastOfPeer, cause.code, cause.message);
    this.#end(cause);
  }

  /** Ends without a word. */
  finish(cause: ConnectionCloseCause): void {
    if (!this.#connection.closed) this.#close(cause);
    this.#disarm();
    this.#socket.destroy();
  }

  /** What is written goes out; the socket has a moment to take it. */
  #end(cause: ConnectionCloseCause): void {
    if (this.#connection.closed) return;
    this.#output.flush();
    this.#phase = 'closing';
    this.#arm(closeGraceMs);
    this.#close(cause);
    this.#socket.end();
  }

  /** The one place where the connection becomes closed. */
  #close(cause: ConnectionCloseCause): void {
    const connection = this.#connection;
    connection.closed = true;
    connection.goingAway = true;
    this.closeCause = cause;
    this.#output.close();
    // Not returned: this may happen within the callback that reads it.
    connection.engine.forgetBlock();
    connection.forgetInput();
    connection.counters.connectionsActive--;
    this.#pings.forget();
    this.#streams.loseAll(cause.code, cause.message);
    this.#handler.onClose(connection, cause);
  }

  readonly #onSocketError = (error: Error): void => {
    this.#connection.engine.tick();
    this.finish({ kind: 'error', code: ErrorCode.connectError, message: error.message });
  };

  readonly #onSocketEnd = (): void => {
    const { engine, ready } = this.#connection;
    engine.tick();
    this.#connection.finishInput();
    const message = ready ? 'the peer closed the connection' : 'the peer closed the connection before it said anything';
    this.finish({ kind: 'peer', code: ErrorCode.cancel, message });
  };

  #arm(afterMs: number): void {
    const { clock, wheel } = this.#connection.engine;
    wheel.arm(this.#deadline, clock.now() + afterMs);
  }

  #disarm(): void {
    this.#connection.engine.wheel.cancel(this.#deadline);
  }
}
