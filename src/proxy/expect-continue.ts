import { type HeaderBlock, type Stream, Token } from '../http2/index.ts';

/**
 * Whether the client waits for a word before it sends its body (RFC 9110 10.1.1). No gRPC client does, but who does would wait for its own
 * limit: no gRPC server says it.
 */
export const awaitsContinue = (block: HeaderBlock): boolean => {
  const at = block.indexOf(Token.expect);
  return at >= 0 && block.value(at).toLowerCase() === '100-continue';
};

export const sendContinue = (stream: Stream): void => {
  const { engine } = stream.connection;
  const block = engine.takeBlock();
  block.add(Token.status, '100');
  stream.sendInformational(block);
  engine.returnBlock(block);
};
