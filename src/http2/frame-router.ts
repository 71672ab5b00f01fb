import type { Connection } from './connection.ts';
import type { ControlReceiver } from './control-receiver.ts';
import type { FrameSink } from './frame-reader.ts';
import { ErrorCode, Flag, FrameType } from './frames.ts';
import type { HeaderAssembly } from './header-assembly.ts';
import type { MessageReceiver } from './message-receiver.ts';
import type { SettingsReceiver } from './settings-receiver.ts';

/** Hands each frame to whom it concerns, once it is sure that it may stand where it stands (RFC 9113 3.4, 6.10). */
export class FrameRouter implements FrameSink {
  readonly #connection: Connection;
  readonly #messages: MessageReceiver;
  readonly #assembly: HeaderAssembly;
  readonly #settings: SettingsReceiver;
  readonly #control: ControlReceiver;

  constructor(connection: Connection, messages: MessageReceiver, settings: SettingsReceiver, control: ControlReceiver) {
    this.#connection = connection;
    this.#messages = messages;
    this.#assembly = messages.assembly;
    this.#settings = settings;
    this.#control = control;
  }

  get closed(): boolean {
    return this.#connection.closed;
  }

  onFramingError(code: number, message: string): void {
    this.#connection.protocolError(code, this.#connection.ready ? message : `${message}; is the peer an HTTP/2 server?`);
  }

  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    if (!this.#connection.ready && (type !== FrameType.settings || (flags & Flag.ack) !== 0)) {
      this.#connection.protocolError(ErrorCode.protocolError, 'the first frame must be SETTINGS (RFC 9113 3.4)');
      return;
    }
    const { awaitedStreamId } = this.#assembly;
    if (awaitedStreamId !== 0 && (type !== FrameType.continuation || streamId !== awaitedStreamId)) {
      this.#connection.protocolError(ErrorCode.protocolError, 'a header block was interrupted by another frame (RFC 9113 6.10)');
      return;
    }
    switch (type) {
      case FrameType.headers:
        this.#assembly.headers(flags, streamId, bytes, start, end);
        break;
      case FrameType.priority:
        this.#control.onPriority(streamId, bytes, start, end);
        break;
      case FrameType.rstStream:
        this.#control.onRstStream(streamId, bytes, start, end);
        break;
      case FrameType.settings:
        this.#settings.onFrame(flags, streamId, bytes, start, end);
        break;
      case FrameType.pushPromise:
        this.#connection.protocolError(ErrorCode.protocolError, 'PUSH_PROMISE was not allowed (RFC 9113 8.4)');
        break;
      case FrameType.ping:
        this.#control.onPing(flags, streamId, bytes, start, end);
        break;
      case FrameType.goAway:
        this.#control.onGoAway(streamId, bytes, start, end);
        break;
      case FrameType.windowUpdate:
        this.#control.onWindowUpdate(streamId, bytes, start, end);
        break;
      case FrameType.continuation:
        this.#assembly.continuation(flags, streamId, bytes, start, end);
        break;
      default: // Unknown types are ignored (RFC 9113 4.1).
    }
  }

  onUnfinishedFrame(bytes: number): void {
    if (!this.closed) this.#assembly.unfinished.keepFrame(bytes);
  }

  onDataFrame(streamId: number, flags: number, length: number, padding: number): void {
    if (!this.#connection.ready || this.#assembly.awaitedStreamId !== 0) {
      this.#connection.protocolError(ErrorCode.protocolError, 'DATA where it may not stand (RFC 9113 3.4, 6.10)');
      return;
    }
    this.#messages.onDataFrame(streamId, flags, length, padding);
  }

  onDataPiece(bytes: Buffer, start: number, end: number, last: boolean): void {
    this.#messages.onDataPiece(bytes, start, end, last);
  }
}
