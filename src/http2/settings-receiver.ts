import { TokenBucket } from './abuse-limits.ts';
import type { Connection, ConnectionHandler } from './connection.ts';
import type { ConnectionLife } from './connection-life.ts';
import type { ConnectionParts } from './connection-parts.ts';
import type { ConnectionStreams } from './connection-streams.ts';
import type { ControlSender } from './control-sender.ts';
import type { DataSender } from './flow-control.ts';
import type { FrameWriter } from './frame-writer.ts';
import { ErrorCode, Flag, readUint32, SettingId } from './frames.ts';
import type { HpackDecoder } from './hpack/decoder.ts';
import type { ReceiveWindow } from './receive-window.ts';
import { settingProblem, settingsFrameProblem } from './setting-rules.ts';

/** Changes of the initial window while streams are open. Those who fit it to what they measure need a few in a second. */
const windowChangesBurst = 100;
const windowChangesPerSecond = 20;

/** The peer's SETTINGS (RFC 9113 6.5), and its word that it has ours. */
export class SettingsReceiver {
  readonly #connection: Connection;
  readonly #handler: ConnectionHandler;
  readonly #life: ConnectionLife;
  readonly #streams: ConnectionStreams;
  readonly #control: ControlSender;
  readonly #data: DataSender;
  readonly #writer: FrameWriter;
  readonly #decoder: HpackDecoder;
  readonly #windowChanges: TokenBucket;
  /** The peer's initial window after the entries so far, and the largest on the way. */
  #initialWindow = 0;
  #largestInitialWindow = 0;
  readonly #receiving: ReceiveWindow;
  /** The peer has acknowledged our first SETTINGS: until then it may go by the defaults of RFC 9113. */
  #tableBytesKnown = false;

  constructor(parts: ConnectionParts, decoder: HpackDecoder) {
    this.#connection = parts.connection;
    this.#handler = parts.handler;
    this.#life = parts.life;
    this.#streams = parts.streams;
    this.#control = parts.control;
    this.#data = parts.sender.data;
    this.#writer = parts.writer;
    this.#decoder = decoder;
    this.#windowChanges = new TokenBucket(windowChangesBurst, windowChangesPerSecond, parts.connection.engine.nowMs);
    this.#receiving = parts.receiving;
  }

  onFrame(flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    const isAck = (flags & Flag.ack) !== 0;
    const wrong = settingsFrameProblem(streamId, isAck, end - start);
    if (wrong !== undefined) this.#connection.protocolError(wrong.code, wrong.message);
    else if (isAck) this.#onAck();
    else this.#onSettings(bytes, start, end);
  }

  #onAck(): void {
    this.#receiving.onSettingsAck();
    if (this.#tableBytesKnown) return;
    this.#tableBytesKnown = true;
    this.#decoder.setMaxTableBytes(this.#connection.options.headerTableBytes);
  }

  #onSettings(bytes: Buffer, start: number, end: number): void {
    const connection = this.#connection;
    const { counters, options } = connection;
    if (end - start > 6 * options.maxSettingsEntries) {
      counters.settingsFlood++;
      connection.protocolError(ErrorCode.enhanceYourCalm, `more than ${options.maxSettingsEntries} SETTINGS entries`);
      return;
    }
    const initialWindow = this.#streams.peerInitialWindow;
    this.#initialWindow = initialWindow;
    this.#largestInitialWindow = initialWindow;
    for (let at = start; at < end && !connection.closed; at += 6) {
      this.#apply(((bytes[at] as number) << 8) | (bytes[at + 1] as number), readUint32(bytes, at + 2));
    }
    if (!connection.closed && (this.#initialWindow !== initialWindow || this.#largestInitialWindow !== initialWindow))
      this.#applyInitialWindow();
    // Before anything that relies on them: the peer goes by its new values from the acknowledgement on.
    if (connection.closed || !this.#control.settingsAck()) return;
    if (!connection.ready) {
      connection.ready = true;
      this.#life.onFirstSettings();
      this.#handler.onReady(connection);
    } else if (connection.role === 'client') this.#handler.onCapacity(connection);
    if (this.#streams.peerInitialWindow > initialWindow) {
      for (const stream of this.#streams.snapshot()) this.#data.onStreamCredit(stream);
    }
    this.#data.pump();
  }

  /** Once for each frame, whatever the number of its entries: all open streams are gone through, for a few bytes of the peer's. */
  #applyInitialWindow(): void {
    const connection = this.#connection;
    if (this.#streams.size > 0 && !this.#windowChanges.take(1, connection.engine.nowMs)) {
      connection.counters.settingsFlood++;
      connection.protocolError(ErrorCode.enhanceYourCalm, 'SETTINGS_INITIAL_WINDOW_SIZE changes too often');
    } else if (!this.#streams.setPeerInitialWindow(this.#initialWindow, this.#largestInitialWindow)) {
      connection.protocolError(ErrorCode.flowControlError, "SETTINGS overflow a stream's window (RFC 9113 6.9.2)");
    }
  }

  #apply(id: number, value: number): void {
    const connection = this.#connection;
    const wrong = settingProblem(id, value, connection.role);
    if (wrong !== undefined) connection.protocolError(wrong.code, wrong.message);
    else if (id === SettingId.headerTableSize) this.#writer.setPeerMaxTableBytes(value);
    else if (id === SettingId.maxConcurrentStreams) this.#limitStreams(value);
    else if (id === SettingId.maxHeaderListSize) connection.peerMaxHeaderListBytes = value;
    else if (id === SettingId.initialWindowSize) {
      this.#initialWindow = value;
      this.#largestInitialWindow = Math.max(this.#largestInitialWindow, value);
    }
    // Our frames never exceed the smallest maximum there is, and unknown settings are ignored (RFC 9113 6.5.2).
  }

  #limitStreams(atOnce: number): void {
    const connection = this.#connection;
    if (atOnce < connection.peerMaxConcurrentStreams) connection.firstIdOfLimit = this.#streams.ids.nextOwn;
    connection.peerMaxConcurrentStreams = atOnce;
  }
}
