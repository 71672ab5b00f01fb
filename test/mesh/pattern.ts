import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { isMap, parseDocument } from 'yaml';
import type { VirtualClock } from '../../src/core/index.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { atEnd } from './at-end.ts';
import type { Caller } from './caller.ts';
import { pass, type SidecarOptions, startSidecar, type TestSidecar } from './mesh.ts';
import { answerOk, type Handler, startUpstream, type Upstream, until } from './upstream.ts';

const folder = new URL('../../policies/', import.meta.url);

/** Every pattern of `policies/`, by the name of its file. */
export const patternFiles = (): readonly string[] => readdirSync(folder).filter((name) => name.endsWith('.yaml'));

/** What the comment at the top of a pattern says. */
export interface PatternHead {
  readonly comments: readonly string[];
  /** Names of statistics that move when the pattern acts. */
  readonly seen: readonly string[];
}

export const readPattern = (file: string): string => readFileSync(new URL(file, folder), 'utf8');

export const patternHead = (file: string): PatternHead => {
  const lines = readPattern(file).split('\n');
  const comments = lines.slice(
    1,
    lines.findIndex((line, i) => i > 0 && !line.startsWith('#')),
  );
  const seen = comments.find((line) => line.startsWith('# Seen: '))?.slice('# Seen: '.length) ?? '';
  return { comments, seen: seen.split(', ').filter((name) => name !== '') };
};

export interface PatternOptions extends Omit<SidecarOptions, 'policies'> {
  /** How the endpoints of each cluster answer, in the order in which the file has them; an address stands for itself. Others answer OK. */
  readonly services?: Readonly<Record<string, readonly (Handler | string)[]>>;
  /** Of clusters whose endpoints somebody else knows: what to write below their source so that he is asked. No service is started for them. */
  readonly sources?: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, unknown>>>>>>;
  /** How the service beside the sidecar answers. */
  readonly local?: Handler;
}

/** A pattern at work: the file as it stands, in front of services on loopback. */
export interface Pattern {
  readonly outrider: TestSidecar;
  readonly client: Caller;
  /** The services of a cluster, those of given addresses left out. */
  service(cluster: string, index?: number): Upstream;
  /** The file with these endpoints. */
  readonly policies: string;
  /** Writes the file anew, and lets the sidecar read it. */
  rewrite(text: string): Promise<void>;
  /** Each statistic that the head of the file names has moved. */
  moved(): Promise<void>;
}

/** Moves virtual time in steps, so that PINGs on the way are answered. */
export const wait = async (clock: VirtualClock, seconds: number): Promise<void> => {
  for (let passed = 0; passed < seconds; passed += 4) await pass(clock, 4_000);
};

/** Puts the addresses of real services in the place of those of the file, in plain text; everything else stays as it is written. */
const withAddresses = (
  text: string,
  addresses: ReadonlyMap<string, readonly string[]>,
  sources: NonNullable<PatternOptions['sources']>,
): string => {
  const document = parseDocument(text);
  const clusters = document.get('clusters');
  for (const [name, here] of addresses) {
    const path = isMap(clusters)
      ? ['clusters', name]
      : ['clusters', document.toJS().clusters.findIndex((one: { name: string }) => one.name === name)];
    document.setIn([...path, 'tls'], { mode: 'disable' });
    const source = sources[name];
    if (source !== undefined) {
      for (const [kind, fields] of Object.entries(source))
        for (const [field, value] of Object.entries(fields)) document.setIn([...path, kind, field], value);
      continue;
    }
    const written: unknown = document.toJS().clusters[path[1] as string];
    const { endpoints, load_assignment: assigned, dns } = written as Record<'endpoints' | 'load_assignment' | 'dns', unknown>;
    if (Array.isArray(endpoints)) {
      for (const [i, address] of here.entries())
        document.setIn([...path, 'endpoints', i, ...(typeof endpoints[i] === 'string' ? [] : ['address'])], address);
      continue;
    }
    if (assigned === undefined && dns === undefined) throw new Error(`cluster ${name} has no endpoints`);
    for (const key of ['load_assignment', 'dns', 'type']) document.deleteIn([...path, key]);
    document.setIn([...path, 'endpoints'], here);
  }
  return String(document);
};

/** How many endpoints each cluster of the file has. */
const countsOf = (text: string): ReadonlyMap<string, number> => {
  const written: unknown = parseDocument(text).toJS().clusters ?? {};
  const entries = Array.isArray(written) ? written.map((one) => [one.name, one]) : Object.entries(written as object);
  return new Map(entries.map(([name, { endpoints }]) => [name, Array.isArray(endpoints) ? endpoints.length : 1]));
};

/** Starts a sidecar with a file of `policies/`, and services where its clusters are. */
export const startPattern = async (t: TestContext, file: string, options: PatternOptions = {}): Promise<Pattern> => {
  const { services = {}, sources = {}, local, ...rest } = options;
  const text = readPattern(file);
  const started = new Map<string, Upstream[]>();
  const addresses = new Map<string, readonly string[]>();
  for (const [cluster, count] of countsOf(text)) {
    const upstreams: Upstream[] = [];
    const here: string[] = [];
    for (let i = 0; i < count && sources[cluster] === undefined; i++) {
      const wanted = services[cluster]?.[i] ?? ((call) => answerOk(call));
      if (typeof wanted === 'string') here.push(wanted);
      else {
        const upstream = await startUpstream(t, wanted);
        upstreams.push(upstream);
        here.push(upstream.address);
      }
    }
    started.set(cluster, upstreams);
    addresses.set(cluster, here);
  }
  const policies = withAddresses(text, addresses, sources);
  const place = temporaryFolder();
  atEnd(t, () => place[Symbol.dispose]());
  writeFileSync(join(place.path, file), policies);
  for (const name of readdirSync(folder).filter((each) => file === 'service-config.yaml' && each.endsWith('service-config.json')))
    writeFileSync(join(place.path, name), readPattern(name));
  const beside = local === undefined ? undefined : await startUpstream(t, local);
  const outrider = await startSidecar(t, {
    ...rest,
    ...(beside === undefined ? {} : { localService: beside.port }),
    environment: { ...rest.environment, POLICY_PATH: place.path },
  });
  return {
    outrider,
    client: outrider.caller(),
    service: (cluster, index = 0) => started.get(cluster)?.[index] ?? assert.fail(`${file} has no service ${index} of ${cluster}`),
    policies,
    rewrite: async (now) => {
      writeFileSync(join(place.path, file), now);
      assert.equal((await outrider.admin('POST', '/reload')).status, 200);
    },
    moved: async () => {
      const { seen } = patternHead(file);
      assert.ok(seen.length > 0, `${file} names no statistics`);
      for (const name of seen) await until(() => outrider.stat(name) > 0, `${name} above 0`);
    },
  };
};
