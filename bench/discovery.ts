/**
 * What discovery through Consul costs, and how soon calls follow it.
 *
 *     npm run bench:discovery -- [--only follow,large,file,many,outage,flap] [--samples 100] [--endpoints 5000] [--services 500] [--seconds 30]
 *
 * follow  a real agent; an instance is registered and deregistered again and again under load: time from Consul's answer to the first call
 *         that the new instance gets, and to the last one that the old one gets
 * large   a service of 5,000 instances, of which 1, 100 or all change: CPU time of the main thread for an update, and the longest time
 *         that it went on without letting calls through, as CPU time, so that what else the machine does is not counted
 * file    a file of 5,000 endpoints that changes, as YAML and as JSON: the same
 * many    a sidecar that watches 500 services of a real agent and does nothing else: memory beside one that watches none, and CPU
 * outage  a real agent killed for `--seconds` under 200 calls/s: failed calls, and the staleness at the end
 * flap    a hundred instances that come and go every second for `--seconds` under 200 calls/s: failed calls, questions, CPU
 *
 * Needs a consul as the tests do: CONSUL_BIN, PATH, or Go to build it.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { SystemClock, silentLogger, TimerWheel } from '../src/core/index.ts';
import { ConsulDiscovery, createEndpointSource, parseConsulAddress, ReadingThread } from '../src/discovery/index.ts';
import { Engine } from '../src/http2/index.ts';
import { clusterPolicy, emptyPolicyTable, plainConsulPolicy } from '../src/policy/index.ts';
import { Cluster } from '../src/upstream/index.ts';
import { freePort } from '../test/harness/ports.ts';
import { outriderPath, type Program, spawnProgram } from '../test/harness/program.ts';
import { temporaryFolder } from '../test/harness/temporary-folder.ts';
import { ConsulProcess } from '../test/peers/consul-process.ts';
import { peerProgram } from '../test/peers/peer-programs.ts';
import { EchoService, OneByOne } from './discovery-calls.ts';
import { cpuMicrosecondsOf, residentBytesOf } from './process-usage.ts';

const { values: flags } = parseArgs({
  options: {
    only: { type: 'string', default: 'follow,large,file,many,outage,flap' },
    samples: { type: 'string', default: '100' },
    endpoints: { type: 'string', default: '5000' },
    services: { type: 'string', default: '500' },
    seconds: { type: 'string', default: '30' },
  },
});

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const say = (line: string) => process.stdout.write(`${line}\n`);
const seconds = Number(flags.seconds);

const until = async (isSo: () => boolean | Promise<boolean>, what: string, patienceMs = 30_000): Promise<void> => {
  const deadline = performance.now() + patienceMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`${what}: not within ${patienceMs} ms`);
    await sleep(1);
  }
};

const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? Number.NaN;
const summary = (samples: readonly number[]) => {
  const sorted = samples.toSorted((a, b) => a - b);
  return { n: sorted.length, p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), max: sorted.at(-1) ?? Number.NaN };
};
const milliseconds = ({ n, p50, p99, max }: ReturnType<typeof summary>): string =>
  `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, longest ${max.toFixed(1)} ms of ${n}`;

interface RunningSidecar extends AsyncDisposable {
  readonly program: Program;
  readonly outboundPort: number;
  stat(name: string): Promise<number>;
}

/** A sidecar in a process of its own, with these policies. */
const startSidecar = async (policies: string, environment: Readonly<Record<string, string>>): Promise<RunningSidecar> => {
  const folder = temporaryFolder();
  const policyPath = join(folder.path, 'policies.yaml');
  writeFileSync(policyPath, policies);
  const program = spawnProgram(outriderPath, ['sidecar'], {
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      SERVICE_NAME: 'caller',
      INBOUND_TLS: 'off',
      GRPC_PORT: '0',
      OUTBOUND_PORT: '0',
      ADMIN_PORT: '0',
      LOCAL_SERVICE_PORT: String(await freePort()),
      LOCAL_SERVICE_HEALTH_INTERVAL: '0s',
      POLICY_PATH: policyPath,
      REGISTRATION: 'off',
      ...environment,
    },
  });
  const [line] = await program.waitFor(/^.*"msg":"ready".*$/m);
  const { outbound, admin } = JSON.parse(line) as { readonly outbound: number; readonly admin: number };
  return {
    program,
    outboundPort: outbound,
    stat: async (name) => {
      const answer = await fetch(`http://127.0.0.1:${admin}/stats?filter=^${name.replaceAll('.', '\\.')}$`, {
        headers: { connection: 'close' },
      });
      return Number(/: (\S+)/.exec(await answer.text())?.[1] ?? Number.NaN);
    },
    [Symbol.asyncDispose]: async () => {
      await program[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
};

const plain =
  'clusters: { learner-svc: { consul: {}, tls: { mode: disable } } }\nroutes: [{ match: { prefix: / }, route: { cluster: learner-svc, idempotent: true, timeout: 10s } }]\n';
const registration = (id: string, port: number, address = '127.0.0.1') => ({ Name: 'learner-svc', ID: id, Address: address, Port: port });

const follow = async (consulPath: string): Promise<object> => {
  await using consul = await ConsulProcess.start({ path: consulPath });
  await using stays = await EchoService.start();
  await using comes = await EchoService.start();
  await consul.register(registration('stays', stays.port));
  await using sidecar = await startSidecar(plain, { CONSUL_HTTP_ADDR: consul.address });
  await using calls = new OneByOne(sidecar.outboundPort);
  const joins: number[] = [];
  const leaves: number[] = [];
  for (let i = 0; i < Number(flags.samples); i++) {
    const before = comes.calls;
    await consul.register(registration('comes', comes.port));
    const registeredMs = performance.now();
    await until(() => comes.calls > before, 'a call at the new instance');
    joins.push(Math.max(comes.firstAfter(before) - registeredMs, 0));
    await sleep(50);
    await consul.deregister('comes');
    const deregisteredMs = performance.now();
    await sleep(400);
    leaves.push(Math.max(comes.lastCallMs - deregisteredMs, 0));
  }
  const failed = calls.failed;
  const result = { joins: summary(joins), leaves: summary(leaves), calls: calls.calls, failed };
  say(`follow   first call at a new instance: ${milliseconds(result.joins)}`);
  say(`         last call at one that left:  ${milliseconds(result.leaves)}; ${failed} of ${calls.calls} calls failed`);
  return result;
};

const threadCpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
};

const large = async (): Promise<object> => {
  const size = Number(flags.endpoints);
  const agent = spawn(process.execPath, [join(import.meta.dirname, 'discovery-agent.ts'), String(size)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const text = await new Promise<string>((resolve) => agent.stdout.once('data', (line: Buffer) => resolve(line.toString().trim())));
  const clock = new SystemClock();
  const address = parseConsulAddress(text);
  if (address === undefined) throw new Error(text);
  const discovery = new ConsulDiscovery({ address, clock, log: silentLogger, random: Math.random });
  let updates = 0;
  let cluster: Cluster | undefined;
  // A process has these long before it looks for anybody.
  const policy = clusterPolicy(emptyPolicyTable(), 'learner-svc');
  const engine = new Engine(clock, new TimerWheel(clock));
  const openCluster = () =>
    new Cluster(policy, {
      engine,
      log: silentLogger,
      random: Math.random,
      identity: undefined,
      trustDomain: 'mesh.local',
      tlsMinimum: 'TLSv1.3',
      createSource: () => {
        const source = discovery.open(plainConsulPolicy('learner-svc'));
        source.subscribe(() => updates++);
        return source;
      },
    });
  // The CPU time between two looks, a millisecond apart, is at least that of the longest turn of the event loop in between.
  let longestMs = 0;
  let lookedMs = threadCpuMs();
  const looks = setInterval(() => {
    const nowMs = threadCpuMs();
    longestMs = Math.max(longestMs, nowMs - lookedMs);
    lookedMs = nowMs;
  }, 1);
  const rows: Record<string, { cpuMs: ReturnType<typeof summary>; longestMs: ReturnType<typeof summary> }> = {};
  const measure = async (what: string, rounds: number, act: () => void): Promise<void> => {
    const cpus: number[] = [];
    const stalls: number[] = [];
    for (let i = 0; i < rounds; i++) {
      await sleep(300);
      const idleMs = await idleCpu();
      const before = updates;
      const startMs = threadCpuMs();
      longestMs = 0;
      act();
      await until(() => updates > before && cluster?.endpoints.length === size, what);
      await sleep(200);
      cpus.push(Math.max(threadCpuMs() - startMs - idleMs, 0));
      stalls.push(longestMs);
    }
    rows[what] = { cpuMs: summary(cpus), longestMs: summary(stalls) };
    say(`large    ${what}: CPU ${milliseconds(summary(cpus))}; longest turn ${milliseconds(summary(stalls))}`);
  };
  /** What the looking itself takes in the time of a measurement. */
  const idleCpu = async (): Promise<number> => {
    const startMs = threadCpuMs();
    await sleep(200);
    return threadCpuMs() - startMs;
  };
  const change = (count: number) => () => void agent.stdin.write(`${count}\n`);
  await measure(`${size} endpoints at once`, 1, () => {
    cluster = openCluster();
  });
  await measure('warm-up', 5, change(1));
  await measure('1 changes', 20, change(1));
  await measure('100 change', 20, change(100));
  await measure('all change', 20, change(size));
  clearInterval(looks);
  cluster?.close();
  discovery.close();
  agent.kill();
  return rows;
};

const files = async (): Promise<object> => {
  const size = Number(flags.endpoints);
  using folder = temporaryFolder();
  const clock = new SystemClock();
  const thread = new ReadingThread(clock);
  const addresses = (round: number) => Array.from({ length: size }, (_, i) => `10.${round & 1}.${i >> 8}.${i & 255}`);
  const texts: Readonly<Record<string, (round: number) => string>> = {
    YAML: (round) =>
      `endpoints:\n${addresses(round)
        .map((host) => `  - ${host}:50051\n`)
        .join('')}`,
    JSON: (round) => {
      const endpoint = (address: string) => ({ endpoint: { address: { socketAddress: { address, portValue: 50_051 } } } });
      return JSON.stringify({ clusterName: 'learner-svc', endpoints: [{ lbEndpoints: addresses(round).map(endpoint) }] });
    },
  };
  const rows: Record<string, object> = {};
  for (const [format, textOf] of Object.entries(texts)) {
    const path = join(folder.path, `endpoints.${format}`);
    writeFileSync(path, textOf(0));
    const source = createEndpointSource(
      { kind: 'file', path, clusterName: 'learner-svc', keepLastMs: 0 },
      { clock, log: silentLogger, thread },
    );
    const stalls: number[] = [];
    let [longestMs, lookedMs] = [0, threadCpuMs()];
    const looks = setInterval(() => {
      const nowMs = threadCpuMs();
      longestMs = Math.max(longestMs, nowMs - lookedMs);
      lookedMs = nowMs;
    }, 1);
    for (let round = 0; round < 10; round++) {
      const text = textOf(round);
      await sleep(100);
      longestMs = 0;
      writeFileSync(path, text);
      await until(() => source.value.endpoints[0]?.host === `10.${round & 1}.0.0`, 'the change of the file');
      await sleep(50);
      if (round > 0) stalls.push(longestMs);
    }
    clearInterval(looks);
    source.close();
    rows[format] = summary(stalls);
    say(`file     ${size} endpoints, all others, as ${format}: longest turn ${milliseconds(summary(stalls))}`);
  }
  thread.close();
  return rows;
};

const many = async (consulPath: string): Promise<object> => {
  const services = Number(flags.services);
  const limits = { http_max_conns_per_client: 2 * services + 200 };
  await using consul = await ConsulProcess.start({ path: consulPath, configuration: { limits } });
  for (let i = 0; i < services; i++) {
    for (let j = 0; j < 3; j++)
      await consul.register({ Name: `service-${i}`, ID: `service-${i}-${j}`, Address: `10.0.${i >> 8}.${i & 255}`, Port: 50_051 + j });
  }
  const listed = (source: string) =>
    `clusters:\n${Array.from({ length: services }, (_, i) => `  service-${i}: { ${source.replaceAll('$', String(i))} }\n`).join('')}`;
  const measure = async (policies: string, environment: Readonly<Record<string, string>>) => {
    await using sidecar = await startSidecar(policies, environment);
    const { pid } = sidecar.program;
    await sleep(10_000);
    const startUs = cpuMicrosecondsOf(pid);
    await sleep(seconds * 1_000);
    const cpuShare = (cpuMicrosecondsOf(pid) - startUs) / (seconds * 1e6);
    return { residentMb: residentBytesOf(pid) / 2 ** 20, cpuShare };
  };
  const static_ = await measure(listed('endpoints: ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]'), {});
  const none = await measure('clusters: {}\n', {});
  const watched = await measure(listed('consul: {}'), { CONSUL_HTTP_ADDR: consul.address, CONSUL_MAX_CONNECTIONS: String(services + 100) });
  const result = { services, none, static: static_, watched, addedMb: watched.residentMb - none.residentMb };
  const percent = (share: number) => `${(share * 100).toFixed(2)} % CPU`;
  say(`many     no cluster: ${none.residentMb.toFixed(1)} MiB, ${percent(none.cpuShare)}`);
  say(`         ${services} clusters of three addresses: ${static_.residentMb.toFixed(1)} MiB, ${percent(static_.cpuShare)}`);
  say(`         ${services} watched services of three instances: ${watched.residentMb.toFixed(1)} MiB, ${percent(watched.cpuShare)}`);
  return result;
};

const outage = async (consulPath: string): Promise<object> => {
  await using consul = await ConsulProcess.start({ path: consulPath });
  await using service = await EchoService.start();
  await consul.register(registration('one', service.port));
  await using sidecar = await startSidecar(plain, { CONSUL_HTTP_ADDR: consul.address });
  await using calls = new OneByOne(sidecar.outboundPort);
  await sleep(1_000);
  await consul.kill();
  await sleep(seconds * 1_000);
  const staleness = await sidecar.stat('cluster.learner-svc.discovery_staleness_seconds');
  const result = { seconds, calls: calls.calls, failed: calls.failed, staleness };
  say(`outage   ${calls.failed} of ${calls.calls} calls failed in ${seconds} s without an agent; discovery_staleness_seconds ${staleness}`);
  return result;
};

const flap = async (consulPath: string): Promise<object> => {
  await using consul = await ConsulProcess.start({ path: consulPath });
  await using service = await EchoService.start();
  await consul.register(registration('stable', service.port));
  await using sidecar = await startSidecar(plain, { CONSUL_HTTP_ADDR: consul.address });
  await using calls = new OneByOne(sidecar.outboundPort);
  const flapping = Array.from({ length: 100 }, (_, i) => registration(`flapping-${i}`, service.port, `127.0.1.${i + 1}`));
  const { pid } = sidecar.program;
  const [startUs, startMs] = [cpuMicrosecondsOf(pid), performance.now()];
  while (performance.now() - startMs < seconds * 1_000) {
    const roundMs = performance.now();
    await Promise.all(flapping.map((instance) => consul.register(instance)));
    await Promise.all(flapping.map(({ ID }) => consul.deregister(ID)));
    await sleep(Math.max(1_000 - (performance.now() - roundMs), 0));
  }
  const tookSeconds = (performance.now() - startMs) / 1_000;
  const cpuShare = (cpuMicrosecondsOf(pid) - startUs) / (tookSeconds * 1e6);
  const questions = await sidecar.stat('consul.rq_total');
  const result = { seconds: tookSeconds, calls: calls.calls, failed: calls.failed, questions, cpuShare };
  say(
    `flap     ${calls.failed} of ${calls.calls} calls failed; ${questions} questions in ${tookSeconds.toFixed(0)} s; ${(cpuShare * 100).toFixed(1)} % CPU, calls included`,
  );
  return result;
};

const consul = await peerProgram('consul');
if (consul.skip !== false) throw new Error(consul.skip);
const results: Record<string, object> = {};
for (const part of flags.only.split(',')) {
  switch (part) {
    case 'follow':
      results[part] = await follow(consul.path);
      break;
    case 'large':
      results[part] = await large();
      break;
    case 'file':
      results[part] = await files();
      break;
    case 'many':
      results[part] = await many(consul.path);
      break;
    case 'outage':
      results[part] = await outage(consul.path);
      break;
    case 'flap':
      results[part] = await flap(consul.path);
      break;
    default:
      throw new Error(`there is no part ${part}; write follow, large, file, many, outage or flap`);
  }
}
const folder = join(import.meta.dirname, 'results');
mkdirSync(folder, { recursive: true });
const file = join(folder, `discovery-${new Date().toISOString().slice(0, 16).replace(':', '')}.json`);
writeFileSync(file, `${JSON.stringify(results, undefined, 2)}\n`);
say(`raw numbers: ${file}`);
