import { X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';
import { type Clock, ConfigurationError } from '../core/index.ts';
import { type CertificateFinding, checkCertificate, meshClientName } from '../identity/index.ts';
import type { Console } from './console.ts';

interface VerifyOptions {
  readonly ca?: string;
  readonly json?: boolean;
}

/** One certificate to look at. */
interface Target {
  readonly path: string;
  /** Folders in which its authority may lie. */
  readonly caFolders: readonly string[];
  /** What it must be called, where the layout of "certs init" says so. */
  readonly name: string | undefined;
}

/**
 * Checks what `paths` name and prints it. Returns the exit code: 0 all good, 1 something is wrong. Throws a `ConfigurationError` for
 * paths that hold nothing to check, and where no authority is found.
 */
export const verifyCertificates = (paths: readonly string[], options: VerifyOptions, clock: Clock, console: Console): number => {
  const nowMs = clock.wallNow();
  const checked = paths.flatMap(targetsOf).map((target) => {
    const authorities = readAuthorities(options.ca ?? findAuthority(target));
    const findings = checkCertificate({ certPem: read(target.path), keyPem: readKey(target.path), authorities, name: target.name, nowMs });
    return { path: target.path, ok: findings.every(({ result }) => result !== 'wrong'), findings };
  });
  const bad = checked.filter(({ ok }) => !ok).length;
  if (options.json) console.out(`${JSON.stringify({ ok: bad === 0, certificates: checked }, null, 2)}\n`);
  else {
    const count = checked.length === 1 ? '1 certificate' : `${checked.length} certificates`;
    console.out(checked.map(({ path, findings }) => `${path}\n${findings.map(findingLine).join('')}`).join(''));
    console.out(bad === 0 ? `${count}, all good\n` : `${count}, ${bad} of them wrong\n`);
  }
  return bad === 0 ? 0 : 1;
};

const signs = { good: '✓', wrong: '✗', skipped: '-' } as const;

const findingLine = ({ check, result, detail, remedy }: CertificateFinding): string =>
  `  ${signs[result]} ${check.padEnd(8)}  ${detail}${remedy === undefined ? '' : `; ${remedy}`}\n`;

const certificateFile = /\.(crt|cer|pem)$/;
const keyFile = /(^|[-_.])key\.pem$/;

const targetsOf = (path: string): readonly Target[] => {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined)
    throw new ConfigurationError(`${path} does not exist`, {
      remedy: 'make certificates with "outrider certs init", or name where they are',
    });
  if (!stat.isDirectory()) return [{ path, caFolders: [dirname(path), join(dirname(path), '..')], name: undefined }];
  const targets = ['ca', 'services', '.'].flatMap((inner) =>
    listFolder(join(path, inner))
      .filter((file) => certificateFile.test(file) && !keyFile.test(file))
      .map((file) => ({ path: join(path, inner, file), caFolders: [path], name: nameInLayout(inner, file) })),
  );
  if (targets.length > 0) return targets;
  throw new ConfigurationError(`${path} holds no certificates (*.crt, *.cer, *.pem)`, {
    remedy: 'make some with "outrider certs init", or name where they are',
  });
};

const listFolder = (path: string): readonly string[] => {
  if (!existsSync(path)) return [];
  try {
    return readdirSync(path).sort();
  } catch (cause) {
    throw unreadable(path, cause);
  }
};

const nameInLayout = (inner: string, file: string): string | undefined => {
  const name = basename(file, extname(file));
  return inner === 'services' || (inner === '.' && name === meshClientName) ? name : undefined;
};

const findAuthority = ({ path, caFolders }: Target): string => {
  for (const folder of caFolders) {
    const found = [join(folder, 'ca', 'ca.crt'), join(folder, 'ca.crt')].find((file) => existsSync(file));
    if (found !== undefined) return found;
  }
  throw new ConfigurationError(`no authority to check ${path} against: there is no ca/ca.crt or ca.crt near it`, {
    remedy: 'name the certificate of the authority with --ca',
  });
};

const readAuthorities = (path: string): readonly X509Certificate[] => {
  const blocks = read(path).match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0)
    throw new ConfigurationError(`${path} holds no certificate of an authority (PEM)`, { remedy: 'name one with --ca' });
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (cause) {
    throw new ConfigurationError(`${path} holds a certificate that cannot be read`, { remedy: 'name the authority with --ca', cause });
  }
};

/** The key beside a certificate: `auth-svc-key.pem` as "certs init" names it, else `tls.key` as Kubernetes does. */
const readKey = (certPath: string): string | undefined => {
  const base = join(dirname(certPath), basename(certPath, extname(certPath)));
  const path = [`${base}-key.pem`, `${base}.key`].find((file) => existsSync(file));
  return path === undefined ? undefined : read(path);
};

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw unreadable(path, cause);
  }
};

const unreadable = (path: string, cause: unknown): ConfigurationError =>
  new ConfigurationError(`${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
    remedy: 'run the command as a user who may read it, or correct the path',
    cause,
  });
