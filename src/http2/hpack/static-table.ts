import { fieldHash } from './field-scan.ts';
import { Token, tokenCount, tokenOfName } from './token.ts';

// RFC 7541 Appendix A, from index 1.
const fields: readonly (readonly [name: string, value: string])[] = [
  [':authority', ''],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
  [':path', '/index.html'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  [':status', '200'],
  [':status', '204'],
  [':status', '206'],
  [':status', '304'],
  [':status', '400'],
  [':status', '404'],
  [':status', '500'],
  ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'],
  ['accept-language', ''],
  ['accept-ranges', ''],
  ['accept', ''],
  ['access-control-allow-origin', ''],
  ['age', ''],
  ['allow', ''],
  ['authorization', ''],
  ['cache-control', ''],
  ['content-disposition', ''],
  ['content-encoding', ''],
  ['content-language', ''],
  ['content-length', ''],
  ['content-location', ''],
  ['content-range', ''],
  ['content-type', ''],
  ['cookie', ''],
  ['date', ''],
  ['etag', ''],
  ['expect', ''],
  ['expires', ''],
  ['from', ''],
  ['host', ''],
  ['if-match', ''],
  ['if-modified-since', ''],
  ['if-none-match', ''],
  ['if-range', ''],
  ['if-unmodified-since', ''],
  ['last-modified', ''],
  ['link', ''],
  ['location', ''],
  ['max-forwards', ''],
  ['proxy-authenticate', ''],
  ['proxy-authorization', ''],
  ['range', ''],
  ['referer', ''],
  ['refresh', ''],
  ['retry-after', ''],
  ['server', ''],
  ['set-cookie', ''],
  ['strict-transport-security', ''],
  ['transfer-encoding', ''],
  ['user-agent', ''],
  ['vary', ''],
  ['via', ''],
  ['www-authenticate', ''],
];

/** Entries of the static table; dynamic indices begin behind it. */
export const staticCount = fields.length;

/** The values of all static entries, one behind the other. */
export const staticBytes: Buffer = Buffer.from(fields.map(([, value]) => value).join(''), 'latin1');

/** By index, 1 to {@link staticCount}: the entry's name token. */
export const staticToken: Uint8Array = Uint8Array.from([Token.unknown, ...fields.map(([name]) => tokenOfName(name))]);

/** By index: where the value begins in {@link staticBytes}; the entry behind the last one gives the last one's end. */
export const staticValueStart: Uint8Array = (() => {
  const starts = new Uint8Array(staticCount + 2);
  fields.forEach(([, value], i) => {
    starts[i + 2] = starts[i + 1]! + value.length;
  });
  return starts;
})();

/** By index: the entry's field hash. */
export const staticHash: Int32Array = Int32Array.from(staticToken, (token, index) =>
  fieldHash(token, staticBytes, 0, 0, staticBytes, staticValueStart[index]!, staticValueStart[index + 1]!),
);

/** By token: the first index with that name, 0 when the table does not have it. Entries of one name are neighbours. */
export const staticNameIndex: Uint8Array = new Uint8Array(tokenCount).map((_, token) =>
  token === 0 ? 0 : Math.max(staticToken.indexOf(token), 0),
);

/** By token: how many entries have that name. */
export const staticNameCount: Uint8Array = new Uint8Array(tokenCount).map((_, token) =>
  token === 0 ? 0 : staticToken.filter((other) => other === token).length,
);
