import { childrenOf, DerError, DerTag, hexOf, integerHex, objectId, readDer, readExtensions } from './der.ts';

/** What decides about a certificate, read from its bytes. */
export interface CertificateFields {
  /** Lower-case hex without leading zeros. */
  readonly serial: string;
  /** The names as they stand, to be compared and copied byte by byte. */
  readonly issuerDer: Uint8Array;
  readonly subjectDer: Uint8Array;
  /** Dotted identifier of the algorithm that signed it. */
  readonly signatureAlgorithm: string;
  readonly dnsNames: readonly string[];
  readonly uris: readonly string[];
  /** As Node prints addresses: `10.0.0.4`, `::1`. */
  readonly ipAddresses: readonly string[];
  /** Hex, where the certificate has one. */
  readonly subjectKeyId: string | undefined;
  /** How many authorities may stand between this one and a leaf; `undefined` where nothing limits them. */
  readonly pathLength: number | undefined;
}

const subjectAltNameId = '2.5.29.17';
const subjectKeyIdId = '2.5.29.14';
const basicConstraintsId = '2.5.29.19';

/** Reads `raw` of an `X509Certificate` (RFC 5280 4.1). Throws a `DerError` where it is malformed. */
export const readCertificateFields = (raw: Uint8Array): CertificateFields => {
  const [tbs, algorithm] = childrenOf(raw);
  if (tbs === undefined || algorithm === undefined) throw new DerError('no certificate');
  const fields = readDer(tbs.content);
  // [0] version is left out by version 1.
  if (fields[0]?.tag === 0xa0) fields.shift();
  const [serial, , issuer, , subject] = fields;
  const algorithmId = readDer(algorithm.content)[0];
  if (serial === undefined || issuer === undefined || subject === undefined || algorithmId === undefined)
    throw new DerError('no certificate');
  const extensionsNode = fields.find((node) => node.tag === 0xa3);
  const extensions = extensionsNode === undefined ? undefined : readExtensions(extensionsNode.content);
  const keyId = extensions?.get(subjectKeyIdId);
  return {
    serial: integerHex(serial),
    issuerDer: issuer.whole,
    subjectDer: subject.whole,
    signatureAlgorithm: objectId(algorithmId),
    subjectKeyId: keyId === undefined ? undefined : hexOf(readDer(keyId.value)[0]?.content ?? new Uint8Array()),
    pathLength: readPathLength(extensions?.get(basicConstraintsId)?.value),
    ...readAltNames(extensions?.get(subjectAltNameId)?.value),
  };
};

const readPathLength = (der: Uint8Array | undefined): number | undefined => {
  const node = der === undefined ? undefined : childrenOf(der).find(({ tag }) => tag === DerTag.integer);
  return node === undefined ? undefined : Number.parseInt(integerHex(node), 16);
};

/** GeneralName of RFC 5280 4.2.1.6 beside those that are read: otherName, rfc822Name, x400Address, directoryName, ediPartyName, registeredID. */
const otherNameTags: ReadonlySet<number> = new Set([0xa0, 0x81, 0xa3, 0xa4, 0xa5, 0x88]);

const readAltNames = (der: Uint8Array | undefined) => {
  const dnsNames: string[] = [];
  const uris: string[] = [];
  const ipAddresses: string[] = [];
  for (const { tag, content } of der === undefined ? [] : childrenOf(der)) {
    if (tag === DerTag.dnsName) pushVisible(dnsNames, content);
    else if (tag === DerTag.uri) pushVisible(uris, content);
    else if (tag === DerTag.ipAddress) ipAddresses.push(...ipText(content));
    // OpenSSL reads none of the names where one is of a kind that does not exist: neither do we.
    else if (!otherNameTags.has(tag)) throw new DerError(`an alternative name with tag 0x${tag.toString(16)}`);
  }
  return { dnsNames, uris, ipAddresses };
};

/** A name with NUL, white space, control characters or bytes beyond ASCII names nobody: it is left out, so that it can match nothing. */
const pushVisible = (names: string[], content: Uint8Array): void => {
  if (content.length > 0 && content.every((byte) => byte > 0x20 && byte < 0x7f)) names.push(Buffer.from(content).toString('latin1'));
};

const ipText = (content: Uint8Array): string[] => {
  if (content.length === 4) return [content.join('.')];
  if (content.length !== 16) return [];
  const groups = hexOf(content).match(/.{4}/g) ?? [];
  return [canonicalAddress(groups.join(':'))];
};

/** The one spelling of an address that compares as text (RFC 5952). */
export const canonicalAddress = (address: string): string =>
  // An address with a zone (fe80::1%eth0) is none that a certificate could hold.
  address.includes(':') && !address.includes('%') ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;
