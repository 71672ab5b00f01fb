/**
 * Well-known header names as small integers, so that the data path asks "is this grpc-timeout?" with one comparison and
 * finds a header with one array load. 0 stands for every other name.
 */
export const Token = {
  unknown: 0,
  // Pseudo-header fields: the smallest numbers, see isPseudoToken.
  authority: 1,
  method: 2,
  path: 3,
  scheme: 4,
  status: 5,
  protocol: 6,
  // The other names of the static table, RFC 7541 Appendix A.
  acceptCharset: 7,
  acceptEncoding: 8,
  acceptLanguage: 9,
  acceptRanges: 10,
  accept: 11,
  accessControlAllowOrigin: 12,
  age: 13,
  allow: 14,
  authorization: 15,
  cacheControl: 16,
  contentDisposition: 17,
  contentEncoding: 18,
  contentLanguage: 19,
  contentLength: 20,
  contentLocation: 21,
  contentRange: 22,
  contentType: 23,
  cookie: 24,
  date: 25,
  etag: 26,
  expect: 27,
  expires: 28,
  from: 29,
  host: 30,
  ifMatch: 31,
  ifModifiedSince: 32,
  ifNoneMatch: 33,
  ifRange: 34,
  ifUnmodifiedSince: 35,
  lastModified: 36,
  link: 37,
  location: 38,
  maxForwards: 39,
  proxyAuthenticate: 40,
  proxyAuthorization: 41,
  range: 42,
  referer: 43,
  refresh: 44,
  retryAfter: 45,
  server: 46,
  setCookie: 47,
  strictTransportSecurity: 48,
  transferEncoding: 49,
  userAgent: 50,
  vary: 51,
  via: 52,
  wwwAuthenticate: 53,
  // gRPC over HTTP/2.
  te: 54,
  grpcTimeout: 55,
  grpcStatus: 56,
  grpcMessage: 57,
  grpcEncoding: 58,
  grpcAcceptEncoding: 59,
  grpcPreviousRpcAttempts: 60,
  grpcRetryPushbackMs: 61,
  grpcStatusDetailsBin: 62,
  // Tracing, mesh and hop-by-hop names.
  traceparent: 63,
  tracestate: 64,
  b3: 65,
  xB3Traceid: 66,
  xB3Spanid: 67,
  xB3Sampled: 68,
  xRequestId: 69,
  xForwardedClientCert: 70,
  xForwardedFor: 71,
  xForwardedProto: 72,
  xOutriderReason: 73,
  xEnvoyRetryOn: 74,
  xEnvoyMaxRetries: 75,
  xEnvoyUpstreamRqTimeoutMs: 76,
  xEnvoyAttemptCount: 77,
  origin: 78,
  connection: 79,
  keepAlive: 80,
  proxyConnection: 81,
  upgrade: 82,
  xOutriderUnprocessed: 83,
  xEnvoyOriginalPath: 84,
  xB3Flags: 85,
  xB3Parentspanid: 86,
} as const;

/** Any value of {@link Token}. Plain `number` on the hot path: the decoder computes them. */
export type Token = (typeof Token)[keyof typeof Token];

const names: readonly string[] = [
  '',
  ':authority',
  ':method',
  ':path',
  ':scheme',
  ':status',
  ':protocol',
  'accept-charset',
  'accept-encoding',
  'accept-language',
  'accept-ranges',
  'accept',
  'access-control-allow-origin',
  'age',
  'allow',
  'authorization',
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-range',
  'content-type',
  'cookie',
  'date',
  'etag',
  'expect',
  'expires',
  'from',
  'host',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'last-modified',
  'link',
  'location',
  'max-forwards',
  'proxy-authenticate',
  'proxy-authorization',
  'range',
  'referer',
  'refresh',
  'retry-after',
  'server',
  'set-cookie',
  'strict-transport-security',
  'transfer-encoding',
  'user-agent',
  'vary',
  'via',
  'www-authenticate',
  'te',
  'grpc-timeout',
  'grpc-status',
  'grpc-message',
  'grpc-encoding',
  'grpc-accept-encoding',
  'grpc-previous-rpc-attempts',
  'grpc-retry-pushback-ms',
  'grpc-status-details-bin',
  'traceparent',
  'tracestate',
  'b3',
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-sampled',
  'x-request-id',
  'x-forwarded-client-cert',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-outrider-reason',
  'x-envoy-retry-on',
  'x-envoy-max-retries',
  'x-envoy-upstream-rq-timeout-ms',
  'x-envoy-attempt-count',
  'origin',
  'connection',
  'keep-alive',
  'proxy-connection',
  'upgrade',
  'x-outrider-unprocessed',
  'x-envoy-original-path',
  'x-b3-flags',
  'x-b3-parentspanid',
];

/** Tokens run from 0 to `tokenCount - 1`. */
export const tokenCount = names.length;

const tokensByName: ReadonlyMap<string, number> = new Map(names.map((name, token) => [name, token] as const).slice(1));

/** Length of each token's name in bytes; 0 for `Token.unknown`. */
export const tokenNameLength: Uint8Array = Uint8Array.from(names, (name) => name.length);

/** Where each token's name begins in {@link tokenNameBytes}. */
export const tokenNameStart: Uint16Array = Uint16Array.from(names, (_, token) => names.slice(0, token).join('').length);

/** The names of all tokens, one behind the other: what the encoder writes. */
export const tokenNameBytes: Buffer = Buffer.from(names.join(''), 'latin1');

/** `''` for `Token.unknown` and for numbers that are no token. */
export const tokenName = (token: number): string => names[token] ?? '';

/** Lower-case name to token, 0 when the name is not well known. */
export const tokenOfName = (name: string): number => tokensByName.get(name) ?? 0;

/** `:method` and its like; RFC 9113 section 8.3. Only the well-known ones: an unknown name with a colon is `unknown`. */
export const isPseudoToken = (token: number): boolean => token > 0 && token <= Token.protocol;

// Length and three bytes tell nearly all names apart; one comparison then makes sure.
const slotMask = 511;
const slotOf = (length: number, first: number, middle: number, last: number): number =>
  (length * 31 + first * 7 + middle * 73 + last * 151) & slotMask;

const slots: Uint8Array = (() => {
  const table = new Uint8Array(slotMask + 1);
  for (let token = 1; token < names.length; token++) {
    const name = tokenName(token);
    let slot = slotOf(name.length, name.charCodeAt(0), name.charCodeAt(name.length >> 1), name.charCodeAt(name.length - 1));
    while (table[slot] !== 0) slot = (slot + 1) & slotMask;
    table[slot] = token;
  }
  return table;
})();

/** The token of the name in `bytes[start, end)`, 0 when it is not well known. Names are compared as they are: upper case never matches. */
export const tokenOf = (bytes: Uint8Array, start: number, end: number): number => {
  const length = end - start;
  if (length <= 0) return 0;
  let slot = slotOf(length, bytes[start]!, bytes[start + (length >> 1)]!, bytes[end - 1]!);
  for (;;) {
    const token = slots[slot]!;
    if (token === 0) return 0;
    if (tokenNameLength[token] === length) {
      let expected = tokenNameStart[token]!;
      let at = start;
      while (at < end && bytes[at] === tokenNameBytes[expected]) {
        at++;
        expected++;
      }
      if (at === end) return token;
    }
    slot = (slot + 1) & slotMask;
  }
};
