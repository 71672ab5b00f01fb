import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';
import type forge from 'node-forge';
import { childrenOf } from './der.ts';

export const keyTypes = ['p256', 'rsa'] as const;
export type KeyType = (typeof keyTypes)[number];

/** RSA keys are made with as many bits: 128 bits of strength, as P-256 has. */
const rsaBits = 3_072;

export const generateKey = (type: KeyType): KeyObject =>
  type === 'p256'
    ? generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey
    : generateKeyPairSync('rsa', { modulusLength: rsaBits }).privateKey;

/** What is written into a certificate; everything else follows from these. */
export interface CertificatePlan {
  /** Becomes CN of the subject, for people's eyes; no peer is ever matched by it. */
  readonly commonName: string;
  readonly organization: string;
  readonly publicKey: KeyObject;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** An authority signs certificates and revocation lists, a leaf is both TLS server and client. */
  readonly kind:
    | { readonly kind: 'authority' }
    | { readonly kind: 'leaf'; readonly dnsNames: readonly string[]; readonly uris: readonly string[]; readonly ips: readonly string[] };
}

/** Who signs: absent for a root, which signs itself. */
export interface CertificateSigner {
  readonly key: KeyObject;
  /** Subject of the issuer byte by byte: a name that was encoded anew may not compare equal. */
  readonly nameDer: Uint8Array;
  readonly keyId: Uint8Array;
}

const oid = {
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  subjectAltName: '2.5.29.17',
  subjectKeyId: '2.5.29.14',
  authorityKeyId: '2.5.29.35',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

/** SHA-1 of the public key's bits: the name of a key, not a signature (RFC 5280 4.2.1.2, method 1). */
export const keyIdOf = (publicKey: KeyObject): Uint8Array => {
  const bitString = childrenOf(publicKey.export({ type: 'spki', format: 'der' }))[1];
  return createHash('sha1')
    .update((bitString?.content ?? new Uint8Array()).subarray(1))
    .digest();
};

/**
 * Builds and signs one X.509 v3 certificate and returns it as PEM. forge can sign with RSA alone, so that it writes the ASN.1 and
 * `node:crypto` signs. `privateKey` of `plan.publicKey` is needed for a root only.
 */
export const buildCertificate = async (
  plan: CertificatePlan,
  signer: CertificateSigner | { readonly selfSignedWith: KeyObject },
): Promise<string> => {
  // forge costs 50 ms and several MB to load: only the commands that issue certificates pay.
  const { default: forgeModule } = await import('node-forge');
  const asn1 = new Asn1Writer(forgeModule);
  const subject = asn1.name(plan.organization, plan.commonName);
  const keyId = keyIdOf(plan.publicKey);
  const signingKey = 'selfSignedWith' in signer ? signer.selfSignedWith : signer.key;
  const issuer = 'selfSignedWith' in signer ? subject : asn1.der(signer.nameDer);
  const authorityKeyId = 'selfSignedWith' in signer ? keyId : signer.keyId;
  const { algorithm, digest } = asn1.signatureAlgorithm(signingKey);

  const tbs = asn1.sequence(
    asn1.context(0, asn1.integer(Uint8Array.of(2))),
    asn1.integer(randomSerial()),
    algorithm,
    issuer,
    asn1.sequence(asn1.time(plan.notBeforeMs), asn1.time(plan.notAfterMs)),
    subject,
    asn1.der(plan.publicKey.export({ type: 'spki', format: 'der' })),
    asn1.context(3, asn1.sequence(...extensionsOf(asn1, plan, keyId, authorityKeyId))),
  );
  const signature = sign(digest, asn1.bytes(tbs), signingKey);
  const certificate = asn1.bytes(asn1.sequence(tbs, algorithm, asn1.bitString(signature)));
  return certificatePem(certificate);
};

export const certificatePem = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${(der.toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n-----END CERTIFICATE-----\n`;

const extensionsOf = (asn1: Asn1Writer, plan: CertificatePlan, keyId: Uint8Array, authorityKeyId: Uint8Array): forge.asn1.Asn1[] => {
  const identifiers = [
    asn1.extension(oid.subjectKeyId, false, asn1.octetString(keyId)),
    asn1.extension(oid.authorityKeyId, false, asn1.sequence(asn1.contextPrimitive(0, authorityKeyId))),
  ];
  if (plan.kind.kind === 'authority') {
    return [
      // CA:true with path length 0: what a stolen leaf signs is worth nothing, and no intermediate can be slipped in.
      asn1.extension(oid.basicConstraints, true, asn1.sequence(asn1.boolean(true), asn1.integer(Uint8Array.of(0)))),
      // keyCertSign and cRLSign: bits 5 and 6, one unused.
      asn1.extension(oid.keyUsage, true, asn1.rawBitString(Uint8Array.of(1, 0b0000_0110))),
      ...identifiers,
    ];
  }
  const names = [
    ...plan.kind.dnsNames.map((name) => asn1.contextPrimitive(2, Buffer.from(name, 'latin1'))),
    ...plan.kind.ips.map((ip) => asn1.contextPrimitive(7, ipBytes(ip))),
    ...plan.kind.uris.map((uri) => asn1.contextPrimitive(6, Buffer.from(uri, 'latin1'))),
  ];
  return [
    asn1.extension(oid.basicConstraints, true, asn1.sequence()),
    // digitalSignature alone: TLS 1.3 encrypts nothing with the certificate's key.
    asn1.extension(oid.keyUsage, true, asn1.rawBitString(Uint8Array.of(7, 0b1000_0000))),
    asn1.extension(oid.extendedKeyUsage, false, asn1.sequence(asn1.objectId(oid.serverAuth), asn1.objectId(oid.clientAuth))),
    asn1.extension(oid.subjectAltName, false, asn1.sequence(...names)),
    ...identifiers,
  ];
};

/** 128 random bits, positive and never zero (RFC 5280 4.1.2.2 allows 20 bytes and demands positive numbers). */
const randomSerial = (): Uint8Array => {
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  return serial;
};

const ipBytes = (ip: string): Uint8Array => {
  if (isIP(ip) === 4) return Uint8Array.from(ip.split('.'), Number);
  const [head = '', tail] = ip.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const middle = Array<string>(Math.max(8 - left.length - right.length, 0)).fill('0');
  return Buffer.from([...left, ...middle, ...right].map((group) => group.padStart(4, '0')).join(''), 'hex');
};

/** forge's ASN.1 with the few shapes of a certificate, on bytes instead of binary strings. */
class Asn1Writer {
  readonly #forge: typeof forge;

  constructor(forgeModule: typeof forge) {
    this.#forge = forgeModule;
  }

  bytes(node: forge.asn1.Asn1): Buffer {
    return Buffer.from(this.#forge.asn1.toDer(node).getBytes(), 'latin1');
  }

  /** Takes finished DER over as it is. */
  der(bytes: Uint8Array): forge.asn1.Asn1 {
    return this.#forge.asn1.fromDer(binary(bytes));
  }

  sequence(...children: forge.asn1.Asn1[]): forge.asn1.Asn1 {
    return this.#create(this.#forge.asn1.Type.SEQUENCE, children);
  }

  boolean(value: boolean): forge.asn1.Asn1 {
    return this.#create(this.#forge.asn1.Type.BOOLEAN, value ? '\xff' : '\x00');
  }

  integer(bytes: Uint8Array): forge.asn1.Asn1 {
    return this.#create(this.#forge.asn1.Type.INTEGER, binary(bytes));
  }

  octetString(bytes: Uint8Array): forge.asn1.Asn1 {
    return this.#create(this.#forge.asn1.Type.OCTETSTRING, binary(bytes));
  }

  /** A BIT STRING of whole bytes. */
  bitString(bytes: Uint8Array): forge.asn1.Asn1 {
    return this.rawBitString(Buffer.concat([Uint8Array.of(0), bytes]));
  }

  /** A BIT STRING whose first byte tells how many bits of the last are unused. */
  rawBitString(bytes: Uint8Array): forge.asn1.Asn1 {
    return this.#create(this.#forge.asn1.Type.BITSTRING, binary(bytes));
  }

  objectId(dotted: string): forge.asn1.Asn1 {
    return this.#create(this.#forge.asn1.Type.OID, this.#forge.asn1.oidToDer(dotted).getBytes());
  }

  context(tag: number, child: forge.asn1.Asn1): forge.asn1.Asn1 {
    return this.#forge.asn1.create(this.#forge.asn1.Class.CONTEXT_SPECIFIC, tag as forge.asn1.Type, true, [child]);
  }

  contextPrimitive(tag: number, bytes: Uint8Array): forge.asn1.Asn1 {
    return this.#forge.asn1.create(this.#forge.asn1.Class.CONTEXT_SPECIFIC, tag as forge.asn1.Type, false, binary(bytes));
  }

  /** UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280 4.1.2.5). */
  time(ms: number): forge.asn1.Asn1 {
    const date = new Date(ms);
    const { Type } = this.#forge.asn1;
    return date.getUTCFullYear() < 2050
      ? this.#create(Type.UTCTIME, this.#forge.asn1.dateToUtcTime(date))
      : this.#create(Type.GENERALIZEDTIME, this.#forge.asn1.dateToGeneralizedTime(date));
  }

  name(organization: string, commonName: string): forge.asn1.Asn1 {
    const part = (id: string, text: string) =>
      this.#create(this.#forge.asn1.Type.SET, [
        this.sequence(this.objectId(id), this.#create(this.#forge.asn1.Type.UTF8, binary(Buffer.from(text, 'utf8')))),
      ]);
    return this.sequence(part(oid.organization, organization), part(oid.commonName, commonName));
  }

  extension(id: string, critical: boolean, value: forge.asn1.Asn1): forge.asn1.Asn1 {
    const payload = this.octetString(this.bytes(value));
    return critical ? this.sequence(this.objectId(id), this.boolean(true), payload) : this.sequence(this.objectId(id), payload);
  }

  /** The algorithm that fits the key, never weaker than SHA-256. */
  signatureAlgorithm(key: KeyObject): { readonly algorithm: forge.asn1.Asn1; readonly digest: string | null } {
    const empty = this.#create(this.#forge.asn1.Type.NULL, '');
    if (key.asymmetricKeyType === 'rsa')
      return { algorithm: this.sequence(this.objectId('1.2.840.113549.1.1.11'), empty), digest: 'sha256' };
    if (key.asymmetricKeyType === 'ed25519') return { algorithm: this.sequence(this.objectId('1.3.101.112')), digest: null };
    const wide = key.asymmetricKeyType === 'ec' && createPublicKey(key).asymmetricKeyDetails?.namedCurve !== 'prime256v1';
    return wide
      ? { algorithm: this.sequence(this.objectId('1.2.840.10045.4.3.3')), digest: 'sha384' }
      : { algorithm: this.sequence(this.objectId('1.2.840.10045.4.3.2')), digest: 'sha256' };
  }

  #create(type: forge.asn1.Type, value: string | forge.asn1.Asn1[]): forge.asn1.Asn1 {
    return this.#forge.asn1.create(this.#forge.asn1.Class.UNIVERSAL, type, Array.isArray(value), value);
  }
}

/** forge's strings hold one byte per character. */
const binary = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
