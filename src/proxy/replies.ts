import type { Fate, MeshError, Reason } from '../core/index.ts';
import { encodeGrpcMessage, statusOfReason } from '../grpc/index.ts';
import { encodePlainBlock, type HeaderBlock, type Stream, Token } from '../http2/index.ts';

/** Replies that Outrider makes itself. The only place where a reason becomes a status on the wire. */

/** What ends a call that Outrider answers, or whose answer it completes. */
export interface LocalReply {
  readonly reason: Reason;
  readonly status: number;
  /** Cause, cluster, rule and remedy, for the person who reads the client's log. */
  readonly message: string;
  /** When a client that tries again should, in milliseconds (gRFC A6); below 0: not at all. */
  readonly pushbackMs?: number;
  /** The service provably never saw the call: the sidecar of the caller may send it elsewhere. */
  readonly unprocessed?: boolean;
}

/** A reply for `reason`; `status` where the reason's own status varies (`upstream_reset`, `missing_status`). */
export const localReply = (reason: Reason, message: string, status: number = statusOfReason(reason)): LocalReply => ({
  reason,
  status,
  message,
});

/** The reply to a call that cannot be made: what the error says, and what can be done about it. */
export const replyToError = ({ reason, message, remedy }: MeshError): LocalReply =>
  localReply(reason, remedy === undefined ? message : `${message}; ${remedy}`);

const addStatus = (block: HeaderBlock, reply: LocalReply): void => {
  block.addNumber(Token.grpcStatus, reply.status);
  block.add(Token.grpcMessage, encodeGrpcMessage(reply.message));
  block.add(Token.xOutriderReason, reply.reason);
  if (reply.unprocessed === true) block.add(Token.xOutriderUnprocessed, '1');
  if (reply.pushbackMs !== undefined) block.add(Token.grpcRetryPushbackMs, String(reply.pushbackMs));
};

/**
 * Sends `reply` on `stream`: Trailers-Only where no response headers have gone out, else as trailers, since a reset would be read
 * as INTERNAL by every client.
 * @param edit what the route does with the headers of answers.
 */
export const sendReply = (stream: Stream, reply: LocalReply, edit?: (block: HeaderBlock) => void): void => {
  const { engine } = stream.connection;
  const block = engine.takeBlock();
  if (stream.headersSent) {
    addStatus(block, reply);
    stream.sendTrailers(block);
  } else {
    block.add(Token.status, '200');
    block.add(Token.contentType, 'application/grpc');
    addStatus(block, reply);
    edit?.(block);
    stream.sendHeaders(block, true);
  }
  engine.returnBlock(block);
};

/** A Trailers-Only answer, encoded once for all that need it. */
export const encodeReply = ({ status, message, reason }: LocalReply): Uint8Array =>
  encodePlainBlock([
    [':status', '200'],
    ['content-type', 'application/grpc'],
    ['grpc-status', String(status)],
    ['grpc-message', encodeGrpcMessage(message)],
    ['x-outrider-reason', reason],
  ]);

/** What somebody hears whose request is not gRPC. */
export const notGrpcMessage = 'This port proxies gRPC: content-type must begin with application/grpc.';
const notGrpc = Buffer.from(`${notGrpcMessage}\n`);

/** Answers a request that is not gRPC: HTTP 415 with a text for whoever points a browser here. */
export const sendUnsupportedContentType = (stream: Stream, isHead: boolean): void => {
  const { engine } = stream.connection;
  const block = engine.takeBlock();
  block.add(Token.status, '415');
  block.add(Token.contentType, 'text/plain; charset=utf-8');
  block.add(Token.xOutriderReason, 'unsupported_content_type' satisfies Fate);
  block.addNumber(Token.contentLength, notGrpc.length);
  stream.sendHeaders(block, isHead);
  engine.returnBlock(block);
  if (!isHead) stream.sendData(notGrpc, 0, notGrpc.length, true);
};
