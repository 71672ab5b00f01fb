import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { type Clock, ConfigurationError, type Shortcoming } from '../core/index.ts';
import { checkCertificate } from './certificate-check.ts';
import { readCertificateFields } from './certificate-fields.ts';
import { weaknessOf } from './certificate-strength.ts';
import { hexOf } from './der.ts';
import { certificateBlocks } from './pem.ts';
import { combineRevocationLists, noRevocations, parseRevocationLists, type RevocationList, type RevocationLists } from './revocation.ts';
import { contextOptions } from './tls-options.ts';

/** Where the identity of this sidecar is read from. */
export interface IdentityPaths {
  /** `CA_CERT_PATH`: the certificates of the authorities that peers are verified against (PEM, one or more). */
  readonly caCertPath: string;
  /** `CLIENT_CERT_PATH`: our own certificate for both roles (PEM, leaf first, then intermediates). */
  readonly clientCertPath: string;
  /** `CLIENT_KEY_PATH`: its private key (PEM, not encrypted). */
  readonly clientKeyPath: string;
  /** `CRL_PATH`: revocation lists (PEM, one or more). */
  readonly crlPath?: string;
}

/** One consistent reading of the files: the key belongs to the certificate. Immutable; a rotation makes a new one. */
export interface Identity {
  readonly certPem: string;
  /** Secret: never to be logged or shown. */
  readonly keyPem: string;
  readonly caPem: string;
  readonly crlPem?: string;
  readonly leaf: X509Certificate;
  /** End of validity of `leaf`, wall-clock milliseconds. */
  readonly notAfterMs: number;
  /** SHA-256 of the leaf's DER, lower-case hex. */
  readonly fingerprint: string;
  readonly spiffeId?: string;
  readonly dnsNames: readonly string[];
  /** The authorities of `caPem`. */
  readonly authorities: readonly X509Certificate[];
  /** What the lists of `CRL_PATH` revoke; empty without one. */
  readonly revocations: RevocationLists;
  /** What works, but will surprise somebody: a leaf without an extended key usage, one for another service, one that the authority did not sign. */
  readonly warnings: readonly Shortcoming[];
}

/**
 * Reads and checks the files. `serviceName`: whom peers will look for. Throws a `ConfigurationError` that names the file, the environment variable and the remedy where
 * one is missing, unreadable, empty, no PEM, encrypted or expired, and where the key does not match the certificate.
 */
export const loadIdentity = (paths: IdentityPaths, clock: Clock, serviceName?: string): Identity => {
  const caFile: IdentityFile = { variable: 'CA_CERT_PATH', path: paths.caCertPath };
  const certFile: IdentityFile = { variable: 'CLIENT_CERT_PATH', path: paths.clientCertPath };
  const keyFile: IdentityFile = { variable: 'CLIENT_KEY_PATH', path: paths.clientKeyPath };
  const caPem = readText(caFile);
  const certPem = readText(certFile);
  const keyPem = readText(keyFile);
  const nowMs = clock.wallNow();
  const authorities = parseCertificates(caFile, caPem);
  const leaf = parseCertificates(certFile, certPem)[0] as X509Certificate;
  const key = parseKey(keyFile, keyPem);
  if (!leaf.checkPrivateKey(key)) {
    throw wrong(keyFile, `is not the key of the certificate in ${paths.clientCertPath}`, 'name the two files that were issued together');
  }
  checkDates(certFile, leaf, nowMs);
  const usable = authorities.filter((authority) => authority.validToDate.getTime() > nowMs);
  if (usable.length === 0) throw wrong(caFile, 'holds only authorities that have expired', 'make a new authority ("outrider certs init")');
  const weakness = weaknessOf(leaf);
  if (weakness !== undefined)
    throw wrong(certFile, `would be refused by every peer: ${weakness}`, 'issue it with P-256, or RSA of 2048 bits or more, and SHA-256');
  const revocations = readRevocations(paths.crlPath, authorities, nowMs);
  try {
    createSecureContext(contextOptions({ certPem, keyPem, caPem }, 'TLSv1.3'));
  } catch (error) {
    throw wrong(certFile, `is not accepted by OpenSSL: ${error instanceof Error ? error.message : String(error)}`, makeThem, error);
  }
  const fields = readCertificateFields(leaf.raw);
  const [uri, second] = fields.uris;
  return {
    certPem,
    keyPem,
    caPem,
    ...revocations,
    leaf,
    notAfterMs: leaf.validToDate.getTime(),
    fingerprint: leaf.fingerprint256.replaceAll(':', '').toLowerCase(),
    ...(uri !== undefined && second === undefined && uri.startsWith('spiffe://') ? { spiffeId: uri } : {}),
    dnsNames: fields.dnsNames,
    authorities,
    warnings: warningsOf(certPem, authorities, serviceName, nowMs),
  };
};

interface IdentityFile {
  readonly variable: string;
  readonly path: string;
}

const makeThem = 'make the certificates with certs-scripts/generate-certs.sh, or correct the variable';

const wrong = ({ variable, path }: IdentityFile, what: string, remedy: string, cause?: unknown): ConfigurationError =>
  new ConfigurationError(`${variable}: ${path} ${what}`, { remedy, cause });

const readText = (file: IdentityFile): string => {
  let text: string;
  try {
    text = readFileSync(file.path, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT') throw wrong(file, 'does not exist', makeThem, error);
    if (code === 'EACCES') {
      const remedy = `let user ${process.getuid?.() ?? 'of this process'} read it (chown or chmod), or run the sidecar as its owner`;
      throw wrong(file, 'cannot be read: permission denied', remedy, error);
    }
    if (code === 'EISDIR') throw wrong(file, 'is a folder', 'name the PEM file in it', error);
    throw wrong(file, `cannot be read: ${error instanceof Error ? error.message : String(error)}`, makeThem, error);
  }
  if (text.trim() === '') throw wrong(file, 'is empty', makeThem);
  return text;
};

const parseCertificates = (file: IdentityFile, pem: string): readonly X509Certificate[] => {
  const blocks = certificateBlocks(pem);
  if (blocks.length === 0)
    throw wrong(
      file,
      'holds no certificate (-----BEGIN CERTIFICATE-----)',
      'name a PEM file; DER is converted with "openssl x509 -inform der"',
    );
  return blocks.map((block, i) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      throw wrong(file, `holds a certificate that cannot be read (the ${i + 1}. of ${blocks.length})`, makeThem, error);
    }
  });
};

const parseKey = (file: IdentityFile, pem: string): KeyObject => {
  if (/ENCRYPTED/.test(pem))
    throw wrong(file, 'is encrypted', 'decrypt it ("openssl pkey -in key -out plain"): there is nobody to ask for a passphrase');
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw wrong(file, 'holds no private key that can be read (PEM)', makeThem, error);
  }
};

const checkDates = (file: IdentityFile, leaf: X509Certificate, nowMs: number): void => {
  if (leaf.validToDate.getTime() <= nowMs) throw wrong(file, `has expired on ${leaf.validTo}`, 'issue a new one ("outrider certs issue")');
  if (leaf.validFromDate.getTime() > nowMs)
    throw wrong(file, `is not valid before ${leaf.validFrom}`, 'compare the clock of this machine with the one that issued it');
};

interface OwnRevocations {
  readonly crlPem?: string;
  readonly revocations: RevocationLists;
}

const readRevocations = (path: string | undefined, authorities: readonly X509Certificate[], nowMs: number): OwnRevocations => {
  if (path === undefined) return { revocations: noRevocations };
  const file: IdentityFile = { variable: 'CRL_PATH', path };
  const crlPem = readText(file);
  let lists: readonly RevocationList[];
  try {
    lists = parseRevocationLists(crlPem);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw wrong(file, `holds no revocation list that can be read: ${why}`, 'name a PEM file of lists', error);
  }
  // A list that is out of date, of somebody else or missing says nothing about today: better the last good one.
  for (const list of lists) {
    if (list.nextUpdateMs <= nowMs) throw wrong(file, `has expired on ${new Date(list.nextUpdateMs).toISOString()}`, 'publish a new list');
    if (list.thisUpdateMs > nowMs)
      throw wrong(
        file,
        `is not valid before ${new Date(list.thisUpdateMs).toISOString()}`,
        'compare the clock of this machine with the one that issued it',
      );
  }
  for (const authority of authorities) {
    const name = hexOf(readCertificateFields(authority.raw).subjectDer);
    if (!lists.some((list) => list.issuer === name && list.isSignedBy(authority.publicKey))) {
      throw wrong(
        file,
        `holds no list that ${describeName(authority.subject)} signed: nothing that this authority takes back would be known`,
        'publish a list of each authority of CA_CERT_PATH, an empty one where it has revoked nothing',
      );
    }
  }
  return { crlPem, revocations: combineRevocationLists(lists) };
};

/** Node has `undefined` for an empty name, whatever its types say. */
const describeName = (name: string | undefined): string => name?.replaceAll('\n', ', ') ?? 'the authority without a name';

/** What a peer will refuse or stumble over, though we ourselves can work with it. */
const warningsOf = (
  certPem: string,
  authorities: readonly X509Certificate[],
  serviceName: string | undefined,
  nowMs: number,
): readonly Shortcoming[] => {
  const findings = checkCertificate({ certPem, keyPem: undefined, authorities, name: serviceName, nowMs });
  const warnings: Shortcoming[] = findings
    .filter(({ result }) => result === 'wrong')
    .map(({ detail, remedy }) => ({ why: `our certificate ${detail}`, ...(remedy === undefined ? {} : { remedy }) }));
  for (const authority of authorities) {
    const weakness = weaknessOf(authority);
    if (weakness !== undefined)
      warnings.push({
        why: `every certificate of ${describeName(authority.subject)} will be refused: ${weakness}`,
        remedy: 'make a new authority ("outrider certs init")',
      });
  }
  return warnings;
};
