import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { TestContext } from 'node:test';
import { freePort, isListening, untilAnswering } from '../harness/ports.ts';
import { outriderPath, type Program, spawnProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from '../mesh/at-end.ts';
import { type IdentityFiles, initCertificates } from '../peers/sidecar-processes.ts';

/** Files that a document shows: blocks whose first line is a comment with the name of the file. */
export const filesOf = (document: string): ReadonlyMap<string, string> =>
  new Map(Array.from(document.matchAll(/```(?:yaml|sh)\n# ([\w.]+)\n(.*?)```/gs), ([, name = '', text = '']) => [name, text]));

/** Ports of one place where a sidecar stands, as the document has them: beside each of them another sidecar during the migration. */
export const documentedPorts = [50051, 15001, 9901, 50061, 15011, 9911] as const;
type DocumentedPort = (typeof documentedPorts)[number];

export interface PlaceOptions {
  readonly name: string;
  readonly identity: IdentityFiles;
  /** Where the service itself listens. */
  readonly servicePort: number;
  /** Where `learner-svc` is called. */
  readonly learnerPort: number;
}

/** Certificates of a mesh whose files are gone with the test. */
export const certificatesFor = async (t: TestContext, names: readonly string[]): Promise<(name: string) => IdentityFiles> => {
  const folder = temporaryFolder();
  atEnd(t, () => folder[Symbol.dispose]());
  return await initCertificates(folder.path, names);
};

/** A host on which the document is followed for one service: its files, with ports and paths of this test, and commands that act on them. */
export class Place {
  readonly ports: ReadonlyMap<DocumentedPort, number>;
  readonly folder: string;
  readonly #options: PlaceOptions;
  readonly #running: Program[] = [];

  private constructor(t: TestContext, options: PlaceOptions, ports: ReadonlyMap<DocumentedPort, number>) {
    const folder = temporaryFolder();
    this.#options = options;
    this.ports = ports;
    this.folder = folder.path;
    atEnd(t, async () => {
      for (const program of this.#running) await program[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    });
  }

  static async create(
    t: TestContext,
    files: ReadonlyMap<string, string>,
    programs: Readonly<Record<string, string>>,
    options: PlaceOptions,
  ): Promise<Place> {
    const ports = new Map<DocumentedPort, number>();
    for (const port of documentedPorts) ports.set(port, await freePort());
    const place = new Place(t, options, ports);
    mkdirSync(join(place.folder, 'policies'));
    for (const [name, text] of files)
      writeFileSync(join(place.folder, name.startsWith('policies') ? join('policies', name) : name), place.here(text));
    mkdirSync(join(place.folder, 'bin'));
    for (const [name, path] of Object.entries({ outrider: outriderPath, ...programs })) {
      // Several Envoys on one machine share nothing.
      const parameters = name === 'envoy' ? ' --use-dynamic-base-id --concurrency 1 -l error' : '';
      const file = join(place.folder, 'bin', name);
      writeFileSync(file, `#!/bin/sh\nexec ${path}${parameters} "$@"\n`);
      chmodSync(file, 0o755);
    }
    copyFileSync(options.identity.ca, join(place.folder, 'ca.crt'));
    return place;
  }

  port(documented: DocumentedPort): number {
    return this.ports.get(documented) ?? 0;
  }

  /** Text of the document with what is so here. */
  here(text: string): string {
    const { name, identity, servicePort, learnerPort } = this.#options;
    return text
      .replaceAll('address: learner-svc, port_value: 50051', `address: 127.0.0.1, port_value: ${learnerPort}`)
      .replaceAll(/\b(?:50051|15001|9901|50061|15011|9911)\b/g, (port) => String(this.port(Number(port) as DocumentedPort)))
      .replaceAll(/\b8080\b/g, String(servicePort))
      .replaceAll('SERVICE_NAME=auth-svc', `SERVICE_NAME=${name}`)
      .replaceAll('/etc/ssl/certs/service.crt', identity.cert)
      .replaceAll('/etc/ssl/private/service.key', identity.key)
      .replaceAll('/etc/ssl/certs/ca.crt', identity.ca)
      .replaceAll('/etc/outrider/policies', join(this.folder, 'policies'));
  }

  /** Runs a command of the document; one that goes on in the background (`&`) is waited for until it listens. */
  async run(documented: string): Promise<string> {
    const isBackground = documented.endsWith(' &');
    const command = this.here(documented.replace(/ &$/, '')).replaceAll(
      '-import-path proto',
      `-import-path ${resolve(import.meta.dirname, '../../proto')}`,
    );
    const env = { PATH: `${join(this.folder, 'bin')}:${process.env['PATH']}`, HOME: process.env['HOME'] };
    const program = spawnProgram('sh', ['-c', isBackground ? `exec ${command}` : command], { cwd: this.folder, env });
    if (isBackground) {
      this.#running.push(program);
      const beside = documented.includes('GRPC_PORT=50061');
      for (const port of beside ? ([50061, 15011, 9911] as const) : ([50051, 15001, 9901] as const))
        await untilAnswering(program, isListening(this.port(port)));
      return '';
    }
    const { code, stdout, stderr } = await program.end();
    if (code !== 0) throw new Error(`${command} ended with ${code}: ${stdout}${stderr}`);
    return stdout + stderr;
  }

  /** Everything that was started in the background has ended. */
  async ended(): Promise<void> {
    for (const program of this.#running.splice(0)) await program.end();
  }
}
