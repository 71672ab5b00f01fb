import type { Connection } from './connection.ts';
import type { ConnectionParts } from './connection-parts.ts';
import type { ConnectionStreams } from './connection-streams.ts';
import type { FrameWriter } from './frame-writer.ts';
import type { Output } from './output.ts';
import type { SheddingOwner } from './request-shedding.ts';

/** Of the units in which `FrameReader` counts work: what is left of a request's cost is small. */
const savedWork = 20;

/** Answers requests for which there is no time, without a stream for them. */
export class RequestRefusals {
  readonly owner: SheddingOwner;
  readonly #connection: Connection;
  readonly #streams: ConnectionStreams;
  readonly #writer: FrameWriter;
  readonly #output: Output;

  constructor(parts: ConnectionParts, owner: SheddingOwner) {
    this.owner = owner;
    this.#connection = parts.connection;
    this.#streams = parts.streams;
    this.#writer = parts.writer;
    this.#output = parts.output;
  }

  /** The stream is new, and nobody has made anything for it; a table size update has to go first, in the answer to another one. */
  mayRefuse(streamId: number): boolean {
    const { ids } = this.#streams;
    return streamId > ids.lastOfPeer && !ids.sealed && !this.#writer.owesTableSize;
  }

  /** Answers a request that has begun. */
  refuse(streamId: number, endStream: boolean): void {
    const connection = this.#connection;
    connection.counters.streamsTotal++;
    this.#output.headerBlocks++;
    this.#writer.plainHeaders(streamId, this.owner.refusal);
    connection.refundWork(savedWork);
    this.owner.onShed(connection);
    if (endStream) return;
    const unended = this.#streams.ids.rememberRefused(streamId);
    if (unended !== 0) this.#streams.endRefused(unended);
  }

  /** The rest of a request that was refused. False where it was not. */
  onRest(streamId: number, endStream: boolean): boolean {
    const { ids } = this.#streams;
    if (!ids.wasRefused(streamId)) return false;
    ids.forgetRefused(streamId);
    if (!endStream) this.#streams.endRefused(streamId);
    return true;
  }
}
