import { execFileSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SystemClock } from '../../src/core/index.ts';
import { buildCertificate, type CertificatePlan, generateKey, keyIdOf } from '../../src/identity/certificate-builder.ts';
import { readCertificateFields } from '../../src/identity/certificate-fields.ts';
import { CertificateAuthority, type Identity, loadIdentity } from '../../src/identity/index.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

export const clock = new SystemClock();
export const trustDomain = 'mesh.local';
export const dayMs = 86_400_000;

/** A certificate (with what follows it in its chain) and its key. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** An authority with its key, so that a test can sign what no authority of ours would. */
export interface TestAuthority extends Pair {
  readonly authority: CertificateAuthority;
}

export const makeAuthority = async (keyType: 'p256' | 'rsa' = 'p256'): Promise<TestAuthority> => {
  const { authority, issued } = await CertificateAuthority.create({ trustDomain, keyType, nowMs: clock.wallNow() });
  return { authority, cert: issued.certPem, key: issued.keyPem };
};

/** What `outrider certs issue` makes. */
export const issue = async (
  { authority }: TestAuthority,
  name: string,
  { atMs = clock.wallNow(), validDays = 10 }: { readonly atMs?: number; readonly validDays?: number } = {},
): Promise<Pair> => {
  const { certPem, keyPem } = await authority.issue({ name, trustDomain, validDays, keyType: 'p256', nowMs: atMs });
  return { cert: certPem, key: keyPem };
};

const pkcs8 = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

export interface CraftOptions {
  readonly commonName?: string;
  readonly kind?: CertificatePlan['kind'];
  readonly key?: KeyObject;
}

/** A certificate with chosen contents, signed by `issuer` (which need not be an authority), or by itself. */
export const craft = async (issuer: Pair | undefined, { commonName = 'learner-svc', kind, key }: CraftOptions = {}): Promise<Pair> => {
  const own = key ?? generateKey('p256');
  const plan: CertificatePlan = {
    commonName,
    organization: trustDomain,
    publicKey: createPublicKey(own),
    notBeforeMs: clock.wallNow() - dayMs,
    notAfterMs: clock.wallNow() + dayMs,
    kind: kind ?? { kind: 'leaf', dnsNames: ['learner-svc'], uris: [], ips: [] },
  };
  if (issuer === undefined) return { cert: await buildCertificate(plan, { selfSignedWith: own }), key: pkcs8(own) };
  const signer = new X509Certificate(issuer.cert);
  const cert = await buildCertificate(plan, {
    key: createPrivateKey(issuer.key),
    nameDer: readCertificateFields(signer.raw).subjectDer,
    keyId: keyIdOf(signer.publicKey),
  });
  return { cert, key: pkcs8(own) };
};

/** A chain as it is sent: the certificate, then who signed it. */
export const chained = (leaf: Pair, ...issuers: readonly Pair[]): Pair => ({
  cert: [leaf, ...issuers].map(({ cert }) => cert).join(''),
  key: leaf.key,
});

export const weakRsaKey = (): KeyObject => generateKeyPairSync('rsa', { modulusLength: 1_024 }).privateKey;

/** A certificate that the openssl command signs, with exactly these extensions; without an issuer it signs itself. */
export const issueWithOpenssl = (
  issuer: Pair | undefined,
  {
    extensions,
    digest = 'sha256',
    subject = '/CN=learner-svc',
  }: { readonly extensions: readonly string[]; readonly digest?: string; readonly subject?: string },
): Pair => {
  using folder = temporaryFolder();
  const write = (name: string, text: string): void => writeFileSync(join(folder.path, name), text);
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder.path, stdio: 'pipe' });
  const key = pkcs8(generateKey('p256'));
  write('key', key);
  if (issuer !== undefined) {
    write('ca', issuer.cert);
    write('ca-key', issuer.key);
  }
  write('extensions', `${extensions.join('\n')}\n`);
  openssl('req', '-new', '-key', 'key', '-subj', subject, '-out', 'request');
  const signer = issuer === undefined ? ['-signkey', 'key'] : ['-CA', 'ca', '-CAkey', 'ca-key'];
  const signed = [...signer, '-set_serial', '4711', '-days', '10', `-${digest}`];
  const cert = execFileSync('openssl', ['x509', '-req', '-in', 'request', ...signed, '-extfile', 'extensions'], {
    cwd: folder.path,
    stdio: 'pipe',
  });
  return { cert: cert.toString(), key };
};

/** The extensions of an honest leaf, in OpenSSL's words. */
export const honest = {
  constraints: 'basicConstraints=critical,CA:FALSE',
  usage: 'keyUsage=critical,digitalSignature',
  purposes: 'extendedKeyUsage=serverAuth,clientAuth',
  names: 'subjectAltName=DNS:learner-svc',
} as const;

/** The extensions of an authority that allows others below it. */
export const authorityExtensions = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign'];

/** A revocation list that takes back the certificates given; made with the openssl command. */
export const revocationList = (issuer: Pair, revoked: readonly Pair[], nextUpdate = '20991231235959Z'): string => {
  using folder = temporaryFolder();
  const write = (name: string, text: string): void => writeFileSync(join(folder.path, name), text);
  write('ca', issuer.cert);
  write('ca-key', issuer.key);
  write('config', '[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\n');
  write(
    'index',
    revoked.map(({ cert }) => `R\t350101000000Z\t250101000000Z\t${new X509Certificate(cert).serialNumber}\tunknown\t/CN=x\n`).join(''),
  );
  const dates = ['-crl_lastupdate', '20250101000000Z', '-crl_nextupdate', nextUpdate];
  return execFileSync('openssl', ['ca', '-gencrl', '-config', 'config', '-cert', 'ca', '-keyfile', 'ca-key', ...dates], {
    cwd: folder.path,
    stdio: 'pipe',
  }).toString();
};

/** The identity of a sidecar, read from files as a sidecar reads it. */
export const identityOf = ({ cert, key }: Pair, ca: string, crl?: string): Identity => {
  using folder = temporaryFolder();
  const file = (name: string, text: string): string => {
    const path = join(folder.path, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  return loadIdentity(
    {
      caCertPath: file('ca.crt', ca),
      clientCertPath: file('tls.crt', cert),
      clientKeyPath: file('tls.key', key),
      ...(crl === undefined ? {} : { crlPath: file('crl.pem', crl) }),
    },
    clock,
  );
};
