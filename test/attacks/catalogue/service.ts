import { HeaderBlock, type Stream, type StreamHandler } from '../../../src/http2/index.ts';

/**
 * The service behind the listeners that are attacked, on the project's own engine: one on `node:http2` takes ten times the CPU, and
 * neighbours would feel the service and not the sidecar.
 */
export type Method = 'Call' | 'Count' | 'Hold' | 'Stall' | 'Large' | 'Drip';

const largeBytes = 1024 * 1024;
const piece = Buffer.alloc(64 * 1024);
piece.writeUInt32BE(largeBytes - 5, 1);
/** Messages of one byte, each in a frame of its own. */
export const dripMessages = 20_000;
const drip = Buffer.from([0, 0, 0, 0, 1, 7]);

const begin = (stream: Stream): void => {
  const block = new HeaderBlock();
  block.addNamed(':status', '200');
  block.addNamed('content-type', 'application/grpc');
  stream.sendHeaders(block, false);
};

const finish = (stream: Stream): void => {
  const block = new HeaderBlock();
  block.addNamed('grpc-status', '0');
  stream.sendTrailers(block);
};

const answerWith = (stream: Stream, text: string): void => {
  const bytes = Buffer.from(text);
  const message = Buffer.alloc(5 + bytes.length);
  message.writeUInt32BE(bytes.length, 1);
  bytes.copy(message, 5);
  begin(stream);
  stream.sendData(message, 0, message.length, false);
  finish(stream);
};

/** Answers with so many pieces, each sent when the one before has left. */
class PiecewiseAnswer {
  #left: number;
  #sending = false;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer, times: number) {
    this.#bytes = bytes;
    this.#left = times;
  }

  pump(stream: Stream): void {
    if (this.#sending) return;
    this.#sending = true;
    while (this.#left > 0 && stream.queuedBytes === 0 && !stream.closed) {
      this.#left--;
      stream.sendData(this.#bytes, 0, this.#bytes.length, false);
      if (this.#left === 0) finish(stream);
    }
    this.#sending = false;
  }
}

/** Serves one request as the method of its path says. */
export const serveMethod = (stream: Stream, block: HeaderBlock, endStream: boolean): void => {
  const path = new Map(block.toPairs()).get(':path') ?? '';
  const method = path.slice(path.lastIndexOf('/') + 1) as Method;
  let receivedBytes = 0;
  const answer =
    method === 'Large'
      ? new PiecewiseAnswer(piece, largeBytes / piece.length)
      : method === 'Drip'
        ? new PiecewiseAnswer(drip, dripMessages)
        : undefined;
  const end = (): void => {
    if (method === 'Call') answerWith(stream, 'pong');
    else if (method === 'Count') answerWith(stream, String(receivedBytes));
  };
  const handler: StreamHandler = {
    onHeaders() {},
    onData: (_stream, _bytes, start, stop, last) => {
      receivedBytes += stop - start;
      if (method !== 'Stall') stream.consume(stop - start);
      if (last) end();
    },
    onTrailers: end,
    onReset: () => stream.release(),
    onSent: () => answer?.pump(stream),
  };
  stream.handler = handler;
  if (answer !== undefined) {
    begin(stream);
    // Behind the callback that the engine is in.
    setImmediate(() => answer.pump(stream));
  }
  if (endStream) end();
};
