import type { Connection } from './connection.ts';
import type { FrameWriter } from './frame-writer.ts';
import { clientPreface, ErrorCode, SettingId } from './frames.ts';
import type { Output } from './output.ts';
import type { ReceiveWindow } from './receive-window.ts';

/** How long more control frames may wait for the socket than should, and how many times as many. */
const crowdGraceMs = 1_000;
const crowdFactor = 10;

/** A connection carries thousands of calls, and hundreds of acknowledgements at most. */
const cancelsPerControlFrame = 10;

/**
 * What we say about the connection itself: preface, acknowledgements, resets, PING, GOAWAY. None of it is under flow control, so
 * that what a peer makes us say, and does not read, has a bound here.
 */
export class ControlSender {
  readonly #connection: Connection;
  readonly #output: Output;
  readonly #writer: FrameWriter;
  readonly #receiving: ReceiveWindow;
  #prefaceSent = false;
  /** Since when more control frames wait than should; infinite while they do not. */
  #crowdedSinceMs = Number.POSITIVE_INFINITY;

  constructor(connection: Connection, output: Output, writer: FrameWriter, receiving: ReceiveWindow) {
    this.#connection = connection;
    this.#output = output;
    this.#writer = writer;
    this.#receiving = receiving;
  }

  /**
   * Ours (RFC 9113 3.4). A server waits with it for the client's first bytes, which come unasked, so that a client of another protocol
   * can be answered in its own.
   */
  preface(): void {
    if (this.#prefaceSent) return;
    this.#prefaceSent = true;
    const { options, role } = this.#connection;
    const settings: [number, number][] = [
      [SettingId.headerTableSize, options.headerTableBytes],
      [SettingId.initialWindowSize, options.initialStreamWindowBytes],
      [SettingId.maxHeaderListSize, options.maxHeaderListBytes],
    ];
    if (role === 'client') settings.push([SettingId.enablePush, 0]);
    else settings.push([SettingId.maxConcurrentStreams, options.maxConcurrentStreams]);
    if (role === 'client') this.#writer.raw(clientPreface);
    this.#writer.settings(settings);
    this.#receiving.announce();
  }

  /** False where the connection has ended, perhaps by it. */
  settingsAck(): boolean {
    if (!this.#admit()) return false;
    this.#writer.settingsAck();
    return true;
  }

  pingAck(bytes: Uint8Array, start: number): void {
    if (this.#admit()) this.#writer.pingAck(bytes, start);
  }

  reset(streamId: number, code: number): void {
    if (this.#admit()) this.#writer.rstStream(streamId, code);
  }

  /**
   * A client that gives up its own calls. All of them may reach their deadline at once while a busy server reads nothing: that is nobody's
   * attack, and ending the connection would fail the calls of everybody else on it.
   */
  cancel(streamId: number, code: number): void {
    if (this.#admit(cancelsPerControlFrame)) this.#writer.rstStream(streamId, code);
  }

  ping(high: number, low: number): void {
    this.preface();
    this.#writer.ping(high, low);
  }

  goAway(lastStreamId: number, code: number, debugData: string): void {
    this.preface();
    this.#connection.counters.goAwaySent++;
    this.#writer.goAway(lastStreamId, code, debugData);
  }

  /**
   * Acknowledgements and resets queue up while the peer does not read: beyond a bound it is an attack (CVE-2019-9512, -9515). A peer that
   * reads may have sent as many in one go; the socket then takes them within the grace.
   */
  #admit(factor = 1): boolean {
    const connection = this.#connection;
    if (connection.closed) return false;
    this.#output.controlFrames++;
    const inFlight = this.#output.controlFramesInFlight;
    const most = factor * connection.options.maxQueuedControlFrames;
    if (!this.#output.floods(inFlight, most)) {
      this.#crowdedSinceMs = Number.POSITIVE_INFINITY;
      return true;
    }
    const { nowMs } = connection.engine;
    this.#crowdedSinceMs = Math.min(this.#crowdedSinceMs, nowMs);
    if (nowMs - this.#crowdedSinceMs < crowdGraceMs && !this.#output.floods(inFlight, crowdFactor * most)) return true;
    connection.counters.outboundControlFlood++;
    connection.protocolError(ErrorCode.enhanceYourCalm, 'too many control frames wait for a peer that does not read');
    return false;
  }
}
