import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { runProgram } from '../test/harness/program.ts';
import type { Shape } from './shapes.ts';

const native = resolve(import.meta.dirname, 'native');

const mustRun = async (command: string, args: readonly string[], cwd: string, remedy: string): Promise<void> => {
  const { code, stderr } = await runProgram(command, args, { cwd, patienceMs: 120_000 }).catch((error: Error) => ({
    code: -1,
    stderr: error.message,
  }));
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${stderr.trim().slice(-1500)}\n${remedy}`);
};

export interface NativePrograms {
  /** Closed loop: a new call when one was answered. */
  readonly loadgen: string;
  /** Open loop: a new call when its time has come. */
  readonly openload: string;
  readonly backend: string;
}

/** Builds load generators and backend unless they are newer than their source. */
export const buildNativePrograms = async (): Promise<NativePrograms> => {
  const folder = join(tmpdir(), 'outrider-bench');
  mkdirSync(folder, { recursive: true });
  const build = async (name: string): Promise<string> => {
    const source = join(native, `${name}.c`);
    const target = join(folder, name);
    if (existsSync(target) && statSync(target).mtimeMs > statSync(source).mtimeMs) return target;
    const args = ['-O2', '-w', '-o', target, source, '-lnghttp2', '-lssl', '-lcrypto'];
    await mustRun(
      'cc',
      args,
      folder,
      'The load generator needs a C compiler, libnghttp2 and OpenSSL: apt-get install gcc libnghttp2-dev libssl-dev',
    );
    return target;
  };
  return { loadgen: await build('loadgen'), openload: await build('openload'), backend: await build('backend') };
};

/** A CA, a server and a client certificate under `folder`/certs, all P-256 and good for both roles, as a sidecar's are. */
export const makeCertificates = async (folder: string): Promise<void> => {
  const certs = join(folder, 'certs');
  mkdirSync(certs, { recursive: true });
  const openssl = (...args: string[]) =>
    mustRun('openssl', args, certs, 'Certificates are made by the openssl command: apt-get install openssl');
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl('req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=bench CA');
  const issue = async (name: string, service: string) => {
    const names = `subjectAltName=DNS:${service},DNS:localhost,IP:127.0.0.1,URI:spiffe://mesh.local/service/${service}`;
    writeFileSync(
      join(certs, `${name}.ext`),
      `${names}\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature\nbasicConstraints=CA:FALSE\n`,
    );
    await openssl('req', ...newKey, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${service}`);
    const signing = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', `${name}.ext`];
    await openssl('x509', '-req', '-in', `${name}.csr`, ...signing, '-out', `${name}.pem`);
    writeFileSync(
      join(certs, `${name}-both.pem`),
      readFileSync(join(certs, `${name}.pem`), 'utf8') + readFileSync(join(certs, `${name}.key`), 'utf8'),
    );
  };
  await issue('server', 'backend.mesh');
  await issue('client', 'client.mesh');
};

/** A gRPC message with its prefix, as the body of every request of the shape. */
export const writeBody = (folder: string, shape: Shape): string => {
  const body = Buffer.alloc(5 + shape.messageBytes, 'x');
  body.writeUInt8(0, 0);
  body.writeUInt32BE(shape.messageBytes, 1);
  const path = join(folder, `body-${shape.messageBytes}`);
  writeFileSync(path, body);
  return path;
};

/** A file of bench/native with its `@NAME@`s filled in. */
export const fillTemplate = (name: string, values: Readonly<Record<string, string | number>>): string =>
  readFileSync(join(native, name), 'utf8').replace(/@([A-Z_]+)@/g, (whole, key: string) => String(values[key] ?? whole));
