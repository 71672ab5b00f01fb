/**
 * The images of deploy/compose: ours is built from the Dockerfile, the others are pulled. What cannot be pulled is made of the same program (built with
 * Go, or of Debian) under the same name, with the same entry point and ports, and says in a label that it is a stand-in.
 *
 *     node test/containers/images.ts [--pull] [--small]     --small: without what only the profile observability needs
 */
import { cpSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { runProgram } from '../harness/program.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { type PeerName, peerProgram } from '../peers/peer-programs.ts';

export const root = resolve(import.meta.dirname, '../..');
const buildPatienceMs = 600_000;

/** Label of an image that is not the official one: what it is made of. */
export const standInLabel = 'outrider.stand-in';

interface StandIn {
  /** Of which it is made, for the label. */
  readonly of: string;
  readonly lines: readonly string[];
  /** Files of the build: name in the image's context, and where it comes from. */
  files(): Promise<Readonly<Record<string, string>>>;
}

const peer = async (name: PeerName): Promise<string> => {
  const { path, skip } = await peerProgram(name);
  if (skip !== false) throw new Error(skip);
  return path;
};

const commandPath = async (name: string): Promise<string> => {
  const { code, stdout } = await runProgram('sh', ['-c', `command -v ${name}`]);
  if (code !== 0) throw new Error(`${name} is missing; apt-get install -y --no-install-recommends prometheus`);
  return stdout.trim();
};

/** By the beginning of the image's name, whatever its tag. */
const standIns: Readonly<Record<string, StandIn>> = {
  'hashicorp/consul': {
    of: 'Consul, built from its Go module',
    lines: [
      'COPY --chmod=755 consul /bin/consul',
      String.raw`RUN printf '#!/bin/sh\nexec consul "$@"\n' >/usr/local/bin/docker-entrypoint.sh && chmod 755 /usr/local/bin/docker-entrypoint.sh`,
      'EXPOSE 8300 8301 8302 8500 8600',
      'ENTRYPOINT ["docker-entrypoint.sh"]',
      'CMD ["agent", "-dev", "-client", "0.0.0.0"]',
    ],
    files: async () => ({ consul: await peer('consul') }),
  },
  'jaegertracing/all-in-one': {
    of: 'Jaeger, built from its Go module, without the pages of its user interface',
    lines: [
      'COPY --chmod=755 all-in-one /go/bin/all-in-one-linux',
      'EXPOSE 4317 4318 5778 6831/udp 6832/udp 9411 14250 14268 14269 16686',
      'ENTRYPOINT ["/go/bin/all-in-one-linux"]',
    ],
    files: async () => ({ 'all-in-one': await peer('jaeger') }),
  },
  'prom/prometheus': {
    // Debian's is built without discovery by Consul.
    of: 'Prometheus, built from its Go module, with promtool of Debian',
    lines: [
      'COPY --chmod=755 prometheus promtool /bin/',
      'RUN mkdir -p /prometheus /etc/prometheus && chown nobody:nogroup /prometheus',
      'USER nobody',
      'EXPOSE 9090',
      'VOLUME ["/prometheus"]',
      'WORKDIR /prometheus',
      'ENTRYPOINT ["/bin/prometheus"]',
      'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]',
    ],
    files: async () => ({ prometheus: await peer('prometheus-with-consul'), promtool: await commandPath('promtool') }),
  },
  'prom/statsd-exporter': {
    of: 'the StatsD exporter, built from its Go module',
    lines: [
      'COPY --chmod=755 statsd_exporter /bin/statsd_exporter',
      'USER nobody',
      'EXPOSE 9102 9125 9125/udp',
      'ENTRYPOINT ["/bin/statsd_exporter"]',
    ],
    files: async () => ({ statsd_exporter: await peer('statsd-exporter') }),
  },
  'grafana/grafana': {
    of: 'a program of this test that reads what is provisioned and draws nothing',
    lines: [
      'COPY grafana.mjs /usr/share/grafana/',
      'COPY yaml /usr/share/grafana/node_modules/yaml',
      String.raw`RUN printf '#!/bin/sh\nexec node /usr/share/grafana/grafana.mjs\n' >/run.sh && chmod 755 /run.sh`,
      'USER 472',
      'EXPOSE 3000',
      'ENTRYPOINT ["/run.sh"]',
    ],
    files: async () => ({ 'grafana.mjs': join(import.meta.dirname, 'stand-ins/grafana.mjs'), yaml: resolve(root, 'node_modules/yaml') }),
  },
};

const docker = async (...args: readonly string[]): Promise<string> => {
  const { code, stdout, stderr } = await runProgram('docker', args, { patienceMs: buildPatienceMs });
  if (code !== 0) throw new Error(`docker ${args.join(' ')}: ${stderr.slice(-2_000)}`);
  return stdout.trim();
};

/** Where the engine has no bridges (engine.sh online), builds take the network of the machine. */
const buildNetwork = (): readonly string[] =>
  process.env['OUTRIDER_BUILD_NETWORK'] ? ['--network', process.env['OUTRIDER_BUILD_NETWORK']] : [];

const isThere = async (image: string): Promise<boolean> => (await runProgram('docker', ['image', 'inspect', image])).code === 0;

const makeStandIn = async (image: string): Promise<void> => {
  const found = Object.entries(standIns).find(([name]) => image.startsWith(`${name}:`))?.[1];
  if (found === undefined) throw new Error(`${image} can neither be pulled nor made`);
  using folder = temporaryFolder();
  for (const [name, from] of Object.entries(await found.files()))
    cpSync(from, join(folder.path, name), { recursive: true, dereference: true });
  writeFileSync(
    join(folder.path, 'Dockerfile'),
    [`FROM ${process.env['NODE_IMAGE'] ?? 'node:26-bookworm-slim'}`, `LABEL ${standInLabel}="${found.of}"`, ...found.lines, ''].join('\n'),
  );
  await docker('build', '--quiet', ...buildNetwork(), '--tag', image, folder.path);
};

/** Builds our image from the tree as it is, and brings the others that are not there yet. */
export const prepareImages = async (say: (line: string) => void, { pull = true, small = false } = {}): Promise<void> => {
  await docker('build', '--quiet', ...buildNetwork(), '--tag', 'outrider', root);
  const compose = join(root, 'deploy/compose/compose.yaml');
  const all = (await docker('compose', '-f', compose, ...(small ? [] : ['--profile', '*']), 'config', '--images')).split('\n');
  for (const image of [...new Set(all)].filter((name) => name !== 'outrider' && name !== '')) {
    if (await isThere(image)) continue;
    if (pull && (await runProgram('docker', ['pull', '--quiet', image], { patienceMs: buildPatienceMs })).code === 0) continue;
    try {
      await makeStandIn(image);
      say(`${image}: made of ${await standInOf(image)}`);
    } catch (error) {
      say(`${image}: ${(error as Error).message}`);
    }
  }
};

/** What the image is made of where it is not the official one; `undefined` where it is. */
export const standInOf = async (image: string): Promise<string | undefined> => {
  const label = await docker('image', 'inspect', '--format', `{{ index .Config.Labels "${standInLabel}" }}`, image);
  return label === '' || label === '<no value>' ? undefined : label;
};

if (import.meta.main)
  await prepareImages((line) => console.log(line), {
    pull: process.argv.includes('--pull'),
    small: process.argv.includes('--small'),
  });
