/**
 * A reader for DER (X.690), as far as certificates and revocation lists need it. Node shows alternative names only as one text with quoting
 * of its own (CVE-2021-44532 was a quoting mistake), names of issuers only as text, and revocation lists not at all; who decides by such
 * things reads the bytes. OpenSSL has accepted the certificate by then; a list is checked here.
 */
export interface DerNode {
  readonly tag: number;
  /** The whole element with tag and length. */
  readonly whole: Uint8Array;
  readonly content: Uint8Array;
}

/** Universal and context tags that occur in certificates. */
export const DerTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectId: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  dnsName: 0x82,
  uri: 0x86,
  ipAddress: 0x87,
} as const;

/** Malformed DER; says at which offset. */
export class DerError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'DerError';
  }
}

/** Splits the elements that stand one after the other in `bytes`. Indefinite lengths and high tag numbers are refused: DER and X.509 have none. */
export const readDer = (bytes: Uint8Array): DerNode[] => {
  const nodes: DerNode[] = [];
  let at = 0;
  while (at < bytes.length) {
    const start = at;
    const tag = bytes[at++] as number;
    if ((tag & 0x1f) === 0x1f) throw new DerError(`high tag number at offset ${start}`);
    let length = bytes[at++];
    if (length === undefined) throw new DerError(`no length at offset ${start}`);
    if (length >= 0x80) {
      const lengthBytes = length & 0x7f;
      if (lengthBytes === 0 || lengthBytes > 4) throw new DerError(`length of ${lengthBytes} bytes at offset ${start}`);
      // OpenSSL takes them where it reads BER: what two readers could take differently is no DER (X.690 10.1).
      const least = lengthBytes === 1 ? 0x80 : 256 ** (lengthBytes - 1);
      length = 0;
      for (let i = 0; i < lengthBytes; i++) length = length * 256 + (bytes[at++] ?? Number.NaN);
      if (length < least) throw new DerError(`length in more bytes than it needs at offset ${start}`);
    }
    if (!(at + length <= bytes.length)) throw new DerError(`element at offset ${start} is cut short`);
    nodes.push({ tag, whole: bytes.subarray(start, at + length), content: bytes.subarray(at, at + length) });
    at += length;
  }
  return nodes;
};

/** The children of the single element in `bytes`, which must have `tag`. */
export const childrenOf = (bytes: Uint8Array, tag: number = DerTag.sequence): DerNode[] => {
  const [node, more] = readDer(bytes);
  if (node === undefined || more !== undefined || node.tag !== tag) throw new DerError('another element was expected');
  return readDer(node.content);
};

export const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');

/** An INTEGER as lower-case hex without leading zeros, so that serial numbers compare as text. */
export const integerHex = (node: DerNode): string => hexOf(node.content).replace(/^0+(?=.)/, '');

/** UTCTime or GeneralizedTime as milliseconds since the epoch (RFC 5280 4.1.2.5: with seconds, in Zulu). */
export const timeMs = (node: DerNode): number => {
  const text = Buffer.from(node.content).toString('latin1');
  const parts = /^(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  const yearDigits = node.tag === DerTag.utcTime ? 2 : 4;
  if (parts === null || parts[1]?.length !== yearDigits) throw new DerError(`"${text}" is no time`);
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.slice(1).map(Number);
  const fullYear = yearDigits === 4 ? year : year >= 50 ? 1900 + year : 2000 + year;
  return Date.UTC(fullYear, month - 1, day, hour, minute, second);
};

/** Dotted form of an OBJECT IDENTIFIER. */
export const objectId = (node: DerNode): string => {
  const numbers: number[] = [];
  let value = 0;
  for (const byte of node.content) {
    value = value * 128 + (byte & 0x7f);
    if (byte & 0x80) continue;
    if (numbers.length === 0) numbers.push(Math.min(Math.floor(value / 40), 2), value - 40 * Math.min(Math.floor(value / 40), 2));
    else numbers.push(value);
    value = 0;
  }
  return numbers.join('.');
};

/** Extensions by dotted identifier: the DER inside the OCTET STRING, and whether it is critical. Twice the same is refused (RFC 5280 4.2). */
export const readExtensions = (extensionsDer: Uint8Array): Map<string, { readonly critical: boolean; readonly value: Uint8Array }> => {
  const extensions = new Map<string, { critical: boolean; value: Uint8Array }>();
  for (const extension of childrenOf(extensionsDer)) {
    const [id, second, third] = readDer(extension.content);
    const valueNode = third ?? second;
    if (id === undefined || valueNode === undefined || valueNode.tag !== DerTag.octetString) throw new DerError('malformed extension');
    const name = objectId(id);
    if (extensions.has(name)) throw new DerError(`extension ${name} occurs twice`);
    extensions.set(name, { critical: third !== undefined && second?.content[0] !== 0, value: valueNode.content });
  }
  return extensions;
};
