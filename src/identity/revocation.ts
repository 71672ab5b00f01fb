import { type KeyObject, verify } from 'node:crypto';
import { childrenOf, DerError, DerTag, hexOf, integerHex, objectId, readDer, readExtensions, timeMs } from './der.ts';

/** What the authorities have taken back. */
export interface RevocationLists {
  readonly size: number;
  /** Wall clock: when the first of the lists is out of date; infinite without one. It stays in force all the same. */
  readonly nextUpdateMs: number;
  /** @param issuer hex of the issuer's name (DER), @param serial hex, both as in `PeerIdentity`. */
  isRevoked(issuer: string, serial: string): boolean;
}

/** Nothing is revoked. */
export const noRevocations: RevocationLists = { size: 0, nextUpdateMs: Number.POSITIVE_INFINITY, isRevoked: () => false };

/**
 * One complete list of one authority (RFC 5280 5.1). Lists in parts (delta, by distribution point, indirect) say so in a critical extension,
 * and are refused: read as complete ones they would let revoked peers in.
 */
export interface RevocationList {
  /** Hex of the issuer's name (DER). */
  readonly issuer: string;
  /** Wall clock: when the list begins to count. */
  readonly thisUpdateMs: number;
  /** Wall clock; infinite where the list does not say. */
  readonly nextUpdateMs: number;
  readonly serials: ReadonlySet<string>;
  /** Whether the owner of this key signed the list. */
  isSignedBy(key: KeyObject): boolean;
}

/** Reads every list of a PEM text. Throws a `DerError` where one is malformed or there is none. */
export const parseRevocationLists = (pem: string): readonly RevocationList[] => {
  const blocks = [...pem.matchAll(/-----BEGIN X509 CRL-----([\s\S]*?)-----END X509 CRL-----/g)];
  if (blocks.length === 0) throw new DerError('no revocation list (-----BEGIN X509 CRL-----)');
  return blocks.map(([, base64 = '']) => parseList(Buffer.from(base64, 'base64')));
};

const isTime = (tag: number): boolean => tag === DerTag.utcTime || tag === DerTag.generalizedTime;

const parseList = (der: Uint8Array): RevocationList => {
  const [tbs, algorithm, signature] = childrenOf(der);
  if (tbs === undefined || algorithm === undefined || signature === undefined) throw new DerError('no revocation list');
  const fields = readDer(tbs.content);
  // v1 has no version and no extensions.
  if (fields[0]?.tag === DerTag.integer) fields.shift();
  const [, issuer, thisUpdate, ...rest] = fields;
  if (issuer === undefined || thisUpdate === undefined) throw new DerError('no revocation list');
  const nextUpdate = rest[0] !== undefined && isTime(rest[0].tag) ? rest.shift() : undefined;
  const entries = rest[0]?.tag === DerTag.sequence ? readDer(rest[0].content) : [];
  const extensions = fields.find(({ tag }) => tag === extensionsTag);
  if (extensions !== undefined) refuseCritical(extensions.content, 'list');
  const serials = new Set<string>();
  for (const entry of entries) {
    const [serial, , entryExtensions] = readDer(entry.content);
    if (serial !== undefined) serials.add(integerHex(serial));
    if (entryExtensions !== undefined) refuseCritical(entryExtensions.whole, 'entry');
  }
  const [algorithmId] = readDer(algorithm.content);
  const digest = algorithmId === undefined ? undefined : digests[objectId(algorithmId)];
  return {
    issuer: hexOf(issuer.whole),
    thisUpdateMs: timeMs(thisUpdate),
    nextUpdateMs: nextUpdate === undefined ? Number.POSITIVE_INFINITY : timeMs(nextUpdate),
    serials,
    // The first byte of a BIT STRING counts its unused bits.
    isSignedBy: (key) => digest !== undefined && verify(digest, tbs.whole, key, signature.content.subarray(1)),
  };
};

const extensionsTag = 0xa0;

const refuseCritical = (extensionsDer: Uint8Array, of: string): void => {
  for (const [id, { critical }] of readExtensions(extensionsDer))
    if (critical) throw new DerError(`critical extension ${id} of a ${of} is not known`);
};

/** Digest of each signature algorithm; `null` where it has its own. */
const digests: Readonly<Record<string, string | null>> = {
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
  '1.3.101.112': null,
};

/** Several lists as one question. */
export const combineRevocationLists = (lists: readonly RevocationList[]): RevocationLists => ({
  size: lists.reduce((sum, { serials }) => sum + serials.size, 0),
  nextUpdateMs: lists.reduce((first, { nextUpdateMs }) => Math.min(first, nextUpdateMs), Number.POSITIVE_INFINITY),
  isRevoked: (issuer, serial) => lists.some((list) => list.issuer === issuer && list.serials.has(serial)),
});
