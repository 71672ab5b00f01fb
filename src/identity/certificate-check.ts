import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { type CertificateFields, readCertificateFields } from './certificate-fields.ts';
import { describeKey, weaknessOf } from './certificate-strength.ts';
import { DerError } from './der.ts';
import { certificateBlocks } from './pem.ts';

/** What is looked at, in this order. */
export type CertificateCheck = 'file' | 'chain' | 'dates' | 'key' | 'strength' | 'names' | 'purposes';

/** One thing that was looked at, in words for people. */
export interface CertificateFinding {
  readonly check: CertificateCheck;
  /** 'skipped' where what it takes is not there, such as the key of somebody else's certificate. */
  readonly result: 'good' | 'wrong' | 'skipped';
  readonly detail: string;
  /** With 'wrong' alone. */
  readonly remedy?: string;
}

export interface CertificateQuestion {
  /** The certificate first, then intermediates. */
  readonly certPem: string;
  /** `undefined`: not at hand. */
  readonly keyPem: string | undefined;
  /** The authorities that a peer would trust. */
  readonly authorities: readonly X509Certificate[];
  /** The service that the certificate must name, where the question says so. */
  readonly name: string | undefined;
  readonly nowMs: number;
}

const purposes = [
  ['serverAuth', '1.3.6.1.5.5.7.3.1'],
  ['clientAuth', '1.3.6.1.5.5.7.3.2'],
] as const;

const dayMs = 86_400_000;
const strongRemedy = 'issue it with P-256, or RSA of 2048 bits or more, and SHA-256';
/**
 * What a peer will make of a certificate, without a handshake: every check that a sidecar does, all of them, so that one look shows all that
 * is wrong. Never throws for what the texts hold.
 */
export const checkCertificate = (question: CertificateQuestion): readonly CertificateFinding[] => {
  const blocks = certificateBlocks(question.certPem);
  if (blocks.length === 0)
    return [wrong('file', 'holds no certificate (-----BEGIN CERTIFICATE-----)', 'name a PEM file that begins with the certificate')];
  let chain: readonly X509Certificate[];
  let fields: CertificateFields;
  try {
    chain = blocks.map((block) => new X509Certificate(block));
    for (const one of chain) refuseUnreadable(one);
    fields = readCertificateFields((chain[0] as X509Certificate).raw);
  } catch (error) {
    const why = error instanceof DerError ? `: ${error.message}` : '';
    return [wrong('file', `holds a certificate that cannot be read${why}`, 'issue a new one ("outrider certs issue")')];
  }
  const [certificate, ...intermediates] = chain as [X509Certificate, ...X509Certificate[]];
  const findings = [
    checkChain(certificate, intermediates, question),
    checkDates(certificate, question.nowMs),
    checkKey(certificate, question.keyPem),
    checkStrength(certificate),
  ];
  return certificate.ca ? findings : [...findings, checkNames(fields, question.name), checkPurposes(certificate)];
};

/** OpenSSL reads a certificate in part only: its key, its dates and its extensions show what is wrong with them when they are asked for. */
const refuseUnreadable = (certificate: X509Certificate): void => {
  weaknessOf(certificate);
  readCertificateFields(certificate.raw);
  if (Number.isNaN(certificate.validFromDate.getTime() + certificate.validToDate.getTime())) throw new DerError('its validity is no time');
};

const good = (check: CertificateCheck, detail: string): CertificateFinding => ({ check, result: 'good', detail });
const wrong = (check: CertificateCheck, detail: string, remedy: string): CertificateFinding => ({ check, result: 'wrong', detail, remedy });

/** People know an authority by its common name. */
const nameOf = (authority: X509Certificate): string => {
  const subject = oneLine(authority.subject);
  return /^(?:.*, )?CN=(.*)$/.exec(subject)?.[1] ?? subject;
};

/** Node has `undefined` for an empty name, whatever its types say. */
const oneLine = (name: string | undefined): string => name?.replaceAll('\n', ', ') ?? 'an authority without a name';

const compareAuthorities = 'compare the CA_CERT_PATH of both sides, or issue it with the authority of this mesh';

const checkChain = (
  certificate: X509Certificate,
  intermediates: readonly X509Certificate[],
  { authorities, nowMs }: CertificateQuestion,
): CertificateFinding => {
  if (authorities.some((authority) => authority.fingerprint256 === certificate.fingerprint256)) {
    if (certificate.ca) return good('chain', `${nameOf(certificate)}, an authority`);
    return wrong(
      'chain',
      'is among the authorities, and is none itself (CA:TRUE is missing)',
      'put the certificate of the authority there',
    );
  }
  const left = new Set(intermediates);
  let current = certificate;
  for (let between = 0; ; between++) {
    const signed = current;
    const isIssuer = (other: X509Certificate): boolean => signed.issuer === other.subject && signed.verify(other.publicKey);
    const root = authorities.find(isIssuer);
    const issuer = root ?? [...left].find(isIssuer);
    if (issuer === undefined) return noIssuer(current, authorities);
    const problem = issuerProblem(issuer, current, between, nowMs);
    if (problem !== undefined) return problem;
    if (root !== undefined)
      return good(
        'chain',
        `signed by ${nameOf(root)}${between === 0 ? '' : `, through ${between === 1 ? '1 authority' : `${between} authorities`} below it`}`,
      );
    left.delete(issuer);
    current = issuer;
  }
};

const noIssuer = (current: X509Certificate, authorities: readonly X509Certificate[]): CertificateFinding => {
  if (current.issuer === current.subject) return wrong('chain', 'is signed by itself', 'issue it with the authority of this mesh');
  const namesake = authorities.find((authority) => authority.subject === current.issuer);
  if (namesake !== undefined) return wrong('chain', `was signed by another authority of the name ${nameOf(namesake)}`, compareAuthorities);
  return wrong('chain', `comes from another authority (${oneLine(current.issuer)})`, compareAuthorities);
};

/** @param between certificates between the issuer and the leaf */
const issuerProblem = (
  issuer: X509Certificate,
  issued: X509Certificate,
  between: number,
  nowMs: number,
): CertificateFinding | undefined => {
  const name = nameOf(issuer);
  if (!issuer.ca)
    return wrong(
      'chain',
      `was signed by ${name}, which is no authority (CA:TRUE or keyCertSign is missing)`,
      'issue it with the authority of this mesh',
    );
  if (!issued.checkIssued(issuer))
    return wrong(
      'chain',
      `was signed by ${name}, whose key identifier is another than it names`,
      'issue it with the authority of this mesh',
    );
  if (issuer.validToDate.getTime() <= nowMs)
    return wrong('chain', `its authority ${name} expired on ${day(issuer.validToDate)}`, 'make a new authority ("outrider certs init")');
  const weakness = weaknessOf(issuer);
  if (weakness !== undefined)
    return wrong('chain', `its authority ${name} is too weak: ${weakness}`, 'make a new authority ("outrider certs init")');
  const { pathLength } = readCertificateFields(issuer.raw);
  if (pathLength !== undefined && between > pathLength)
    return wrong('chain', `is longer than ${name} allows (path length ${pathLength})`, 'issue it with the authority itself');
  return undefined;
};

const day = (date: Date): string => date.toISOString().slice(0, 10);

const checkDates = ({ validFromDate, validToDate }: X509Certificate, nowMs: number): CertificateFinding => {
  if (validToDate.getTime() <= nowMs)
    return wrong('dates', `expired on ${validToDate.toISOString()}`, 'issue a new one ("outrider certs issue")');
  if (validFromDate.getTime() > nowMs)
    return wrong(
      'dates',
      `not valid before ${validFromDate.toISOString()}`,
      'compare the clock of this machine with the one that issued it',
    );
  const days = Math.floor((validToDate.getTime() - nowMs) / dayMs);
  return good('dates', `until ${day(validToDate)}, ${days === 1 ? '1 day' : `${days} days`} from now`);
};

const checkKey = (certificate: X509Certificate, keyPem: string | undefined): CertificateFinding => {
  if (keyPem === undefined) return { check: 'key', result: 'skipped', detail: 'no key file beside it' };
  if (keyPem.includes('ENCRYPTED')) return wrong('key', 'is encrypted', 'decrypt it: a sidecar has nobody to ask for a passphrase');
  let key: KeyObject;
  try {
    key = createPrivateKey(keyPem);
  } catch {
    return wrong(
      'key',
      'the file beside it holds no private key that can be read (PEM)',
      'bring it back, or issue a new pair ("outrider certs issue")',
    );
  }
  if (certificate.checkPrivateKey(key)) return good('key', 'belongs to it');
  return wrong('key', 'belongs to another certificate', 'bring the pair back together, or issue a new one ("outrider certs issue")');
};

const checkStrength = (certificate: X509Certificate): CertificateFinding => {
  const weakness = weaknessOf(certificate);
  if (weakness !== undefined) return wrong('strength', weakness, strongRemedy);
  return good('strength', describeKey(certificate));
};

const checkNames = ({ dnsNames, uris, ipAddresses }: CertificateFields, name: string | undefined): CertificateFinding => {
  const names = [...dnsNames, ...ipAddresses, ...uris];
  if (dnsNames.length + uris.length === 0)
    return wrong('names', 'carries no DNS name and no URI (a common name counts for nothing)', 'issue it with subject alternative names');
  if (name === undefined || dnsNames.includes(name) || uris.some((uri) => uri.endsWith(`/service/${name}`)))
    return good('names', names.join(', '));
  return wrong('names', `is for ${names.join(', ')}, not for ${name}`, `issue one for ${name} ("outrider certs issue ${name}")`);
};

const checkPurposes = ({ keyUsage }: X509Certificate): CertificateFinding => {
  const held = (keyUsage as readonly string[] | undefined) ?? [];
  const missing = purposes.filter(([, id]) => !held.includes(id)).map(([name]) => name);
  if (missing.length === 0) return good('purposes', 'server and client');
  return wrong(
    'purposes',
    `lacks extended key usage ${missing.join(' and ')}`,
    'issue it with both: a sidecar is server and client with the same certificate',
  );
};
