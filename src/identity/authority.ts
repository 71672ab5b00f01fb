import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { ConfigurationError } from '../core/index.ts';
import { buildCertificate, type CertificateSigner, generateKey, type KeyType, keyIdOf } from './certificate-builder.ts';
import { readCertificateFields } from './certificate-fields.ts';

const dayMs = 86_400_000;
/** Machines whose clocks are a little behind must not find a fresh certificate "not yet valid". */
const clockSkewMs = 5 * 60_000;
const authorityDays = 3_650;

/** A certificate and its private key, both PEM. The key is a secret. */
export interface IssuedCertificate {
  readonly certPem: string;
  readonly keyPem: string;
  readonly notAfterMs: number;
}

export interface LeafRequest {
  /** A DNS label: the service's name in the catalogue, in policies and in the certificate. */
  readonly name: string;
  readonly trustDomain: string;
  readonly validDays: number;
  readonly keyType: KeyType;
  /** Wall clock, milliseconds. */
  readonly nowMs: number;
}

const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const domain = /^[a-z0-9]([a-z0-9._-]{0,252}[a-z0-9])?$/;

/**
 * The name of a service must be a DNS label in lower case: it becomes a host name, part of a URI and of a file's path.
 * Throws a `ConfigurationError` otherwise.
 */
export const checkServiceName = (name: string): void => {
  if (label.test(name)) return;
  throw new ConfigurationError(`"${name}" cannot be the name of a service`, {
    remedy: 'use lower-case letters, digits and hyphens, at most 63, beginning and ending with a letter or digit, such as learner-svc',
  });
};

/** A SPIFFE trust domain: letters, digits, dots, hyphens, underscores. Throws a `ConfigurationError` otherwise. */
export const checkTrustDomain = (trustDomain: string): void => {
  if (domain.test(trustDomain)) return;
  throw new ConfigurationError(`"${trustDomain}" cannot be a trust domain`, {
    remedy: 'use a name such as mesh.local, in lower case and without spiffe://',
  });
};

/** The names under which a service is reached, and its SPIFFE id. */
export const serviceNames = (name: string, trustDomain: string) => ({
  dnsNames: [name, `${name}.default`, `${name}.default.svc`, `${name}.default.svc.cluster.local`, 'localhost'],
  ips: ['127.0.0.1'],
  uris: [`spiffe://${trustDomain}/service/${name}`],
});

/** The root of a mesh: its certificate and the key that signs. */
export class CertificateAuthority {
  readonly certificate: X509Certificate;
  readonly certPem: string;
  readonly #signer: CertificateSigner;

  private constructor(certPem: string, certificate: X509Certificate, key: KeyObject) {
    this.certPem = certPem;
    this.certificate = certificate;
    const fields = readCertificateFields(certificate.raw);
    this.#signer = {
      key,
      nameDer: fields.subjectDer,
      keyId: fields.subjectKeyId === undefined ? keyIdOf(certificate.publicKey) : Buffer.from(fields.subjectKeyId, 'hex'),
    };
  }

  /** The trust domain of a root that `create` made; of another authority nothing is known. */
  get trustDomain(): string | undefined {
    return /^O=(.+)\nCN=\1 root$/.exec(this.certificate.subject)?.[1];
  }

  /** Makes a root that is valid for ten years and signs leaves only (path length 0). */
  static async create(options: { readonly trustDomain: string; readonly keyType: KeyType; readonly nowMs: number }): Promise<{
    readonly authority: CertificateAuthority;
    readonly issued: IssuedCertificate;
  }> {
    checkTrustDomain(options.trustDomain);
    const key = generateKey(options.keyType);
    const notAfterMs = options.nowMs + authorityDays * dayMs;
    const certPem = await buildCertificate(
      {
        commonName: `${options.trustDomain} root`,
        organization: options.trustDomain,
        publicKey: createPublicKey(key),
        notBeforeMs: options.nowMs - clockSkewMs,
        notAfterMs,
        kind: { kind: 'authority' },
      },
      { selfSignedWith: key },
    );
    return {
      authority: new CertificateAuthority(certPem, new X509Certificate(certPem), key),
      issued: { certPem, keyPem: pemOf(key), notAfterMs },
    };
  }

  /**
   * Takes an authority that exists, whoever made it: RSA, EC or Ed25519. Throws a `ConfigurationError` where it cannot sign: no authority,
   * expired, key of another certificate, encrypted key.
   * @param where names of the two files, for messages
   */
  static load(
    certPem: string,
    keyPem: string,
    nowMs: number,
    where: { readonly cert: string; readonly key: string },
  ): CertificateAuthority {
    const certificate = parse(() => new X509Certificate(certPem), `${where.cert} holds no certificate`);
    if (/ENCRYPTED/.test(keyPem)) {
      throw new ConfigurationError(`the key in ${where.key} is encrypted`, {
        remedy: `decrypt it for the time of issuing, such as with: openssl pkey -in ${where.key} -out plain.pem`,
      });
    }
    const key = parse(() => createPrivateKey(keyPem), `${where.key} holds no private key`);
    if (!certificate.ca) {
      throw new ConfigurationError(`the certificate in ${where.cert} is not that of an authority (CA:true is missing)`, {
        remedy: 'put the certificate of an authority there, or choose another folder so that a new authority is made',
      });
    }
    if (!certificate.checkPrivateKey(key)) {
      throw new ConfigurationError(`the key in ${where.key} does not belong to the certificate in ${where.cert}`, {
        remedy: 'put the pair back together from your backup, or choose another folder so that a new authority is made',
      });
    }
    if (certificate.validToDate.getTime() <= nowMs) {
      throw new ConfigurationError(`the authority in ${where.cert} expired on ${certificate.validToDate.toISOString()}`, {
        remedy: 'move the folder away and run the command again: a new authority is made, and every sidecar needs the new ca.crt',
      });
    }
    return new CertificateAuthority(certPem, certificate, key);
  }

  /** Issues a certificate for both TLS roles, valid at once. It never outlives its authority. */
  async issue(request: LeafRequest): Promise<IssuedCertificate> {
    checkServiceName(request.name);
    checkTrustDomain(request.trustDomain);
    const key = generateKey(request.keyType);
    const notAfterMs = Math.min(request.nowMs + request.validDays * dayMs, this.certificate.validToDate.getTime());
    const certPem = await buildCertificate(
      {
        commonName: request.name,
        organization: request.trustDomain,
        publicKey: createPublicKey(key),
        notBeforeMs: request.nowMs - clockSkewMs,
        notAfterMs,
        kind: { kind: 'leaf', ...serviceNames(request.name, request.trustDomain) },
      },
      this.#signer,
    );
    return { certPem, keyPem: pemOf(key), notAfterMs };
  }
}

const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

const parse = <T>(read: () => T, message: string): T => {
  try {
    return read();
  } catch (cause) {
    throw new ConfigurationError(`${message} that can be read`, { remedy: 'the file must be PEM, beginning with -----BEGIN', cause });
  }
};
