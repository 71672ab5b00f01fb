import { randomBytes } from 'node:crypto';
import { chmodSync, closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ConfigurationError } from '../core/index.ts';
import { CertificateAuthority, checkServiceName, type IssuedCertificate, type LeafRequest } from './authority.ts';
import type { KeyType } from './certificate-builder.ts';

/** The name of the certificate for clients that are no service: scripts, load generators, people with grpcurl. */
export const meshClientName = 'mesh-client';

const authorityName = 'ca';

/** Where things lie in a folder of certificates: `ca/ca.crt`, `services/<name>.crt`, `mesh-client.crt`, each with its `-key.pem`. */
export const certificatePaths = (folder: string, name: string): { readonly cert: string; readonly key: string } => {
  if (name === authorityName) return { cert: join(folder, 'ca', 'ca.crt'), key: join(folder, 'ca', 'ca-key.pem') };
  const base = name === meshClientName ? folder : join(folder, 'services');
  return { cert: join(base, `${name}.crt`), key: join(base, `${name}-key.pem`) };
};

export interface AuthorityChoice {
  readonly trustDomain: string;
  readonly keyType: KeyType;
  readonly nowMs: number;
  /** False: where there is no authority, that is an error. True by default. */
  readonly mayCreate?: boolean;
}

/**
 * The authority of a folder: the one that is there, never overwritten, or a new one. Half an authority is an error, since a new one
 * would cut off every sidecar that trusts the old.
 */
export const openAuthority = async (
  folder: string,
  options: AuthorityChoice,
): Promise<{ readonly authority: CertificateAuthority; readonly created: boolean }> => {
  const { cert, key } = certificatePaths(folder, authorityName);
  const [hasCert, hasKey] = [existsSync(cert), existsSync(key)];
  if (hasCert && hasKey)
    return { authority: CertificateAuthority.load(read(cert), read(key), options.nowMs, { cert, key }), created: false };
  if (hasCert || hasKey) {
    const [there, missing] = hasCert ? [cert, key] : [key, cert];
    throw new ConfigurationError(`${there} is there, but ${missing} is missing: half an authority cannot sign`, {
      remedy: `bring ${missing} back from your backup, or choose another --output-dir so that a new authority is made`,
    });
  }
  if (options.mayCreate === false) {
    throw new ConfigurationError(`${folder} has no authority that could sign (${cert})`, {
      remedy: `make one with "outrider certs init --output-dir ${folder}", or name another folder with --output-dir`,
    });
  }
  const { authority, issued } = await CertificateAuthority.create(options);
  writePair({ cert, key }, issued);
  return { authority, created: true };
};

/** Issues a certificate into the folder and returns where. One of the same name is replaced: running sidecars take it up by themselves. */
export const issueInto = async (
  folder: string,
  authority: CertificateAuthority,
  request: LeafRequest,
): Promise<{ readonly cert: string; readonly key: string; readonly notAfterMs: number }> => {
  checkServiceName(request.name);
  checkFileName(request.name);
  const paths = certificatePaths(folder, request.name);
  const issued = await authority.issue(request);
  writePair(paths, issued);
  return { ...paths, notAfterMs: issued.notAfterMs };
};

/** `ca` stands for the authority in a folder: a certificate of that name would take its place. Throws a `ConfigurationError`. */
export const checkFileName = (name: string): void => {
  if (name === authorityName) {
    throw new ConfigurationError(`"${name}" is the name of the authority and cannot be that of a service`, {
      remedy: 'choose another name',
    });
  }
};

const writePair = (paths: { readonly cert: string; readonly key: string }, issued: IssuedCertificate): void => {
  writeWhole(paths.key, issued.keyPem, 0o600);
  writeWhole(paths.cert, issued.certPem, 0o644);
};

/** Beside the target and then renamed, so that nobody ever reads half a file; the key is never readable by others, not even for a moment. */
const writeWhole = (path: string, text: string, mode: number): void => {
  const temporary = join(dirname(path), `.${randomBytes(6).toString('hex')}.tmp`);
  try {
    mkdirSync(dirname(path), { recursive: true });
    const file = openSync(temporary, 'wx', mode);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    // The umask may have taken bits of a certificate that sidecars of other users need to read.
    chmodSync(temporary, mode);
    renameSync(temporary, path);
  } catch (cause) {
    removeQuietly(temporary);
    throw new ConfigurationError(`${path} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`, {
      remedy: 'choose a folder that you may write to with --output-dir',
      cause,
    });
  }
};

/** What could not be written cannot always be removed either; the first error is the one to tell. */
const removeQuietly = (path: string): void => {
  try {
    rmSync(path, { force: true });
  } catch {
    // Nothing is there: its folder is none.
  }
};

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new ConfigurationError(`${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
      remedy: 'run the command as the user who owns the authority',
      cause,
    });
  }
};
