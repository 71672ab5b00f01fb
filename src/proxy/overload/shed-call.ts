import type { Stream, StreamHandler } from '../../http2/index.ts';
import { type LocalReply, sendReply } from '../replies.ts';

/** What is left of a refused call: the rest of its request, which goes nowhere. One for all of them. */
const nobody: StreamHandler = {
  onHeaders() {},
  onData: (stream, _bytes, start, end) => stream.consume(end - start),
  onTrailers() {},
  onReset() {},
  onSent() {},
};

/** Refuses a call before anything was made for it: whoever has no time must not spend it on saying so. */
export const shedCall = (stream: Stream, reply: LocalReply): void => {
  stream.handler = nobody;
  // Whoever resets it now has not read the answer yet: that is no haste.
  stream.patienceMs = 0;
  sendReply(stream, reply);
};
