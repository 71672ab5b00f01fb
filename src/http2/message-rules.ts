import type { HeaderBlock } from './header-block.ts';
import { isAuthority } from './hpack/field-scan.ts';
import { Token } from './hpack/token.ts';

/**
 * What makes a message malformed (RFC 9113 8.1 to 8.3). Each check returns what is wrong, in words for the log and the debug
 * data, or `undefined`; a malformed message never reaches a policy.
 */

const connectionSpecific = [Token.connection, Token.keepAlive, Token.proxyConnection, Token.transferEncoding, Token.upgrade];

const fieldProblem = (block: HeaderBlock): string | undefined => {
  if (block.problems !== 0) return 'a field name or value holds characters that HTTP/2 forbids (RFC 9113 8.2.1, 8.3.1)';
  if (block.pseudoAfterRegular) return 'a pseudo-header field comes after a regular field (RFC 9113 8.3)';
  if (block.unknownPseudo) return 'an unknown pseudo-header field (RFC 9113 8.3)';
  for (let i = 0; i < connectionSpecific.length; i++) {
    if (block.indexOf(connectionSpecific[i] as number) >= 0) return 'a connection-specific field (RFC 9113 8.2.2)';
  }
  return undefined;
};

/** Wrong unless the field occurs exactly once and has a value. */
const missingOrRepeated = (block: HeaderBlock, token: number): boolean => {
  const i = block.indexOf(token);
  return i < 0 || block.duplicateOf(token) || block.valueStart[i] === block.valueEnd[i];
};

/**
 * Request headers. `host` becomes `:authority` where there is none, and is removed where there is one (RFC 9113 8.3.1, gRFC A41): what
 * policies match and what the server takes for its name must be one value.
 */
export const requestProblem = (block: HeaderBlock): string | undefined => {
  const problem = fieldProblem(block);
  if (problem !== undefined) return problem;
  if (block.indexOf(Token.status) >= 0) return ':status in a request (RFC 9113 8.3)';
  if (block.indexOf(Token.protocol) >= 0) return 'extended CONNECT was not offered (RFC 8441)';
  if (missingOrRepeated(block, Token.method)) return ':method must occur once (RFC 9113 8.3.1)';
  if (missingOrRepeated(block, Token.scheme)) return ':scheme must occur once (RFC 9113 8.3.1)';
  if (missingOrRepeated(block, Token.path)) return ':path must occur once and not be empty (RFC 9113 8.3.1)';
  if (block.duplicateOf(Token.authority) || block.duplicateOf(Token.host)) return ':authority or host occurs twice (RFC 9113 8.3.1)';
  const te = block.indexOf(Token.te);
  if (te >= 0 && (block.duplicateOf(Token.te) || !block.valueEquals(te, 'trailers'))) return 'te may only be "trailers" (RFC 9113 8.2.2)';
  const host = block.indexOf(Token.host);
  if (host >= 0) {
    if (block.indexOf(Token.authority) < 0) {
      if (!isAuthority(block.bytes, block.valueStart[host]!, block.valueEnd[host]!)) return 'host is no host and port (RFC 9110 7.2)';
      block.addBytes(Token.authority, block.bytes, block.valueStart[host]!, block.valueEnd[host]!);
    }
    block.remove(host);
  }
  const authority = block.indexOf(Token.authority);
  if (authority >= 0 && block.valueStart[authority] === block.valueEnd[authority]) return ':authority is empty (RFC 9110 4.2.1)';
  return contentLengthProblem(block);
};

/** Response headers, also informational ones. */
export const responseProblem = (block: HeaderBlock): string | undefined => {
  const problem = fieldProblem(block);
  if (problem !== undefined) return problem;
  if (missingOrRepeated(block, Token.status)) return ':status must occur once (RFC 9113 8.3.2)';
  if (statusOf(block) < 0) return ':status must have three digits (RFC 9113 8.3.2)';
  for (const token of [Token.method, Token.scheme, Token.path, Token.authority, Token.protocol]) {
    if (block.indexOf(token) >= 0) return 'a pseudo-header field of requests in a response (RFC 9113 8.3)';
  }
  return contentLengthProblem(block);
};

/** Trailers of either side. */
export const trailersProblem = (block: HeaderBlock): string | undefined => {
  const problem = fieldProblem(block);
  if (problem !== undefined) return problem;
  for (let token = Token.authority; token <= Token.protocol; token++) {
    if (block.indexOf(token) >= 0) return 'a pseudo-header field in trailers (RFC 9113 8.1)';
  }
  return undefined;
};

/** The three digits of `:status`, -1 where they are none. */
export const statusOf = (block: HeaderBlock): number => {
  const i = block.indexOf(Token.status);
  if (i < 0) return -1;
  const start = block.valueStart[i] as number;
  if ((block.valueEnd[i] as number) - start !== 3) return -1;
  const status = decimalAt(block, start, start + 3);
  return status >= 100 ? status : -1;
};

/** The announced `content-length`, -1 where there is none. */
export const contentLengthOf = (block: HeaderBlock): number => {
  const i = block.indexOf(Token.contentLength);
  return i < 0 ? -1 : decimalAt(block, block.valueStart[i] as number, block.valueEnd[i] as number);
};

const contentLengthProblem = (block: HeaderBlock): string | undefined => {
  const i = block.indexOf(Token.contentLength);
  if (i < 0) return undefined;
  return block.duplicateOf(Token.contentLength) || contentLengthOf(block) < 0 ? 'content-length is no number, or occurs twice' : undefined;
};

/** A decimal number of at most 15 digits, -1 for anything else. */
const decimalAt = (block: HeaderBlock, start: number, end: number): number => {
  if (end <= start || end - start > 15) return -1;
  let value = 0;
  for (let at = start; at < end; at++) {
    const digit = (block.bytes[at] as number) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
};
