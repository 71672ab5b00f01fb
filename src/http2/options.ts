import { largestStreamId } from './frames.ts';

/** Every limit of the engine by name. The defaults are those that `docs/security.md` explains. */
export interface Http2Options {
  /** Streams that the peer may have open at once (SETTINGS_MAX_CONCURRENT_STREAMS). */
  readonly maxConcurrentStreams: number;
  /** Client role: the last stream id that is used; then the connection drains, and its owner makes another one (RFC 9113 5.1.1). */
  readonly lastOwnStreamId: number;
  /** Bytes of the decoder's dynamic table (SETTINGS_HEADER_TABLE_SIZE). */
  readonly headerTableBytes: number;
  /** Fields of one header block, cookie crumbs counted one by one. */
  readonly maxHeaderFields: number;
  /** Decoded size of one header block, 32 bytes added per field (RFC 7541 4.1). Above twice of it the connection ends. */
  readonly maxHeaderListBytes: number;
  /** Frames of one header block, the first one included. */
  readonly maxHeaderFrames: number;
  /** A stream's receive window at the start, and how far it may grow while its reader keeps up. */
  readonly initialStreamWindowBytes: number;
  readonly maxStreamWindowBytes: number;
  /** The connection's receive window. */
  readonly connectionWindowBytes: number;
  /** Received bytes of one connection that may wait for their way out. */
  readonly maxConnectionBufferBytes: number;
  /** Bytes handed to the socket and not yet accepted by the kernel, above which DATA waits in its stream. */
  readonly socketHighWaterBytes: number;
  /** Time for the peer's preface and first SETTINGS, after TLS. */
  readonly prefaceTimeoutMs: number;
  /** Time for a client's first request, after its preface. */
  readonly firstRequestTimeoutMs: number;
  /** Streams that the peer may reset: a token bucket of `resetBurst`, refilled at `resetsPerSecond`. The same for resets that it makes us send. */
  readonly resetBurst: number;
  readonly resetsPerSecond: number;
  /** Acknowledgements and resets that may wait for a peer that does not read. */
  readonly maxQueuedControlFrames: number;
  /** Entries of one SETTINGS frame. */
  readonly maxSettingsEntries: number;
  /** PRIORITY frames, for each stream ever opened. */
  readonly maxPriorityFramesPerStream: number;
  /** DATA or HEADERS in a row that carry nothing and end nothing. */
  readonly maxConsecutiveEmptyFrames: number;
}

export const defaultHttp2Options: Http2Options = {
  maxConcurrentStreams: 1_000,
  lastOwnStreamId: largestStreamId,
  headerTableBytes: 4_096,
  maxHeaderFields: 100,
  maxHeaderListBytes: 60 * 1024,
  maxHeaderFrames: 8,
  initialStreamWindowBytes: 65_535,
  maxStreamWindowBytes: 1024 * 1024,
  connectionWindowBytes: 4 * 1024 * 1024,
  maxConnectionBufferBytes: 16 * 1024 * 1024,
  socketHighWaterBytes: 256 * 1024,
  prefaceTimeoutMs: 5_000,
  firstRequestTimeoutMs: 60_000,
  resetBurst: 200,
  resetsPerSecond: 33,
  maxQueuedControlFrames: 1_000,
  maxSettingsEntries: 32,
  maxPriorityFramesPerStream: 100,
  maxConsecutiveEmptyFrames: 1,
};
