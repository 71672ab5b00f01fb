import { FieldFlag, fieldOverheadBytes, type HeaderBlock, Token } from '../http2/index.ts';

/**
 * What changes in the headers of a request on its way, whoever it goes to: names that only a proxy may write are removed, since a
 * service trusts them (threat model: forged XFCC and `x-envoy-*`).
 */

const proxyOwned = [
  Token.xForwardedClientCert,
  Token.xForwardedFor,
  Token.xForwardedProto,
  Token.xOutriderReason,
  Token.xOutriderUnprocessed,
];
const proxyOwnedPrefixes = ['x-envoy-', 'x-outrider-', 'x-forwarded-'];
const letterX = 0x78;
const dash = 0x2d;

/** Tokens from here to here are `x-envoy-*`: they are named in the token table so that they can be found fast. */
const envoyTokens = [Token.xEnvoyRetryOn, Token.xEnvoyMaxRetries, Token.xEnvoyUpstreamRqTimeoutMs, Token.xEnvoyAttemptCount];

const nameStartsWith = (block: HeaderBlock, i: number, prefix: string): boolean => {
  const start = block.nameStart[i] as number;
  if ((block.nameEnd[i] as number) - start < prefix.length) return false;
  for (let at = 0; at < prefix.length; at++) if (block.bytes[start + at] !== prefix.charCodeAt(at)) return false;
  return true;
};

/** Removes what the sender had no right to say, and makes `te: trailers` sure (gRPC PROTOCOL-HTTP2, Requests). */
export const sanitizeRequest = (block: HeaderBlock): void => {
  for (let i = 0; i < proxyOwned.length; i++) block.removeToken(proxyOwned[i] as number);
  for (let i = 0; i < envoyTokens.length; i++) block.removeToken(envoyTokens[i] as number);
  for (let i = 0; i < block.count; i++) {
    if (block.tokens[i] !== Token.unknown || ((block.flags[i] as number) & FieldFlag.dropped) !== 0) continue;
    const start = block.nameStart[i] as number;
    if (block.bytes[start] !== letterX || block.bytes[start + 1] !== dash) continue;
    for (let p = 0; p < proxyOwnedPrefixes.length; p++) if (nameStartsWith(block, i, proxyOwnedPrefixes[p] as string)) block.remove(i);
  }
  if (block.indexOf(Token.te) < 0) block.add(Token.te, 'trailers');
};

/**
 * Removes what is not the upstream's to say of headers or trailers; a malformed response is refused before. `content-length` goes since
 * the body may end early, in a status of ours: a client that counts would report a protocol error in its place (RFC 9113 8.1.1).
 * `x-outrider-unprocessed` is said by one sidecar to the next: a service that passes on what it was answered itself must not say it.
 */
export const sanitizeResponse = (block: HeaderBlock): void => {
  block.removeToken(Token.xOutriderUnprocessed);
  block.removeToken(Token.xEnvoyAttemptCount);
  block.removeToken(Token.contentLength);
};

/** Size of the fields that will be sent, as SETTINGS_MAX_HEADER_LIST_SIZE counts it (RFC 9113 6.5.2). Allocates: for when it may matter. */
export const headerListBytes = (block: HeaderBlock): number =>
  block.toPairs().reduce((sum, [name, value]) => sum + name.length + value.length + fieldOverheadBytes, 0);

/** All values of a header, joined by commas as Envoy does. */
export const headerValue = (block: HeaderBlock, name: string): string | undefined => {
  const first = block.find(name);
  if (first < 0) return undefined;
  const token = block.tokens[first] as number;
  if (token !== Token.unknown && !block.duplicateOf(token)) return block.value(first);
  return block
    .toPairs()
    .filter(([field]) => field === name)
    .map(([, value]) => value)
    .join(',');
};
