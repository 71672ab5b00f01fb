/**
 * What the access log costs for each call that ends: where it has no line, where one of a hundred has, and where every one has, into a file.
 * Run: `node bench/micro/access-log.ts`. Nanoseconds of CPU per call, those of threads that write included, the best of five rounds.
 */
import { join } from 'node:path';
import { constantWatch, SystemClock, silentLogger } from '../../src/core/index.ts';
import { compilePolicies } from '../../src/policy/index.ts';
import { AccessLog, type CallObserver, type EndedCall } from '../../src/telemetry/index.ts';
import { temporaryFolder } from '../../test/harness/temporary-folder.ts';
import { endedCall } from '../../test/telemetry/access-log/ended-call.ts';

const rounds = 5;
const calls = 200_000;
/** As many as come in a turn of a busy sidecar. */
const callsInTurn = 100;
const callsBetweenWaits = 2_000;
const mostWaiting = 1_000_000;

const headers = { 'user-agent': 'grpc-go/1.80.0', 'x-request-id': '0f4c1e2a-4b53-4b1e-9c9b-9d6f0a4b1e9c' };
const good = endedCall({ headers, traceId: '4bf92f3577b34da6a3ce929d0e0e4736' });
const failed = endedCall({
  headers,
  fate: 'no_endpoint',
  grpcStatus: 14,
  replyMessage: 'cluster "cart" has no endpoints; check that the service runs',
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Lines that have not been written yet are given time: no sidecar ends a million calls a second. */
const settle = async (log: AccessLog | undefined): Promise<void> => {
  for (let waiting = true; log !== undefined && waiting; ) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    log.collectStats({ counter: () => {}, gauge: (_name, value) => (waiting = value > mostWaiting) });
  }
};

const measure = async (name: string, observer: CallObserver, call: EndedCall, log?: AccessLog): Promise<void> => {
  let bestNs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const before = process.cpuUsage();
    for (let i = 0; i < calls; i += callsInTurn) {
      for (let j = 0; j < callsInTurn; j++) observer.onCallEnd(call);
      await turn();
      if (i % callsBetweenWaits === 0) await settle(log);
    }
    const { user, system } = process.cpuUsage(before);
    bestNs = Math.min(bestNs, ((user + system) * 1e3) / calls);
  }
  process.stdout.write(`${name.padEnd(44)} ${bestNs.toFixed(0).padStart(8)} ns\n`);
};

using folder = temporaryFolder();
const logOf = (policies: string, setting?: string): AccessLog => {
  const { table } = compilePolicies([{ path: 'p.yaml', bytes: new TextEncoder().encode(policies) }]);
  if (table === undefined) throw new Error(`wrong: ${policies}`);
  return new AccessLog({
    clock: new SystemClock(),
    log: silentLogger,
    random: Math.random,
    policies: constantWatch(table),
    setting,
    serviceName: 'bench',
    hostname: 'bench',
  });
};

const path = join(folder.path, 'access.log');
for (const [name, policies, setting] of [
  ['turns of the loop alone', undefined, undefined],
  ['no log', 'access_log: []\n', undefined],
  ['0 %', 'access_log: { sample: 0% }\n', path],
  ['1 %', 'access_log: { sample: 1% }\n', path],
  ['100 %, into a file', 'access_log: {}\n', path],
  ['100 %, /dev/null', 'access_log: {}\n', '/dev/null'],
  ['100 %, four fields', 'access_log: { json_format: { t: "%START_TIME%", p: "%REQ(:PATH)%", f: "%FATE%", d: "%DURATION%" } }\n', path],
] as const) {
  if (policies === undefined) {
    await measure(name, { onCallEnd: () => {} }, good);
    continue;
  }
  const log = logOf(policies, setting);
  await measure(name, log, good, log);
  if (name.startsWith('100 %, into')) await measure(`${name}, failed calls`, log, failed, log);
  await log.close(5_000);
  const dropped: string[] = [];
  log.collectStats({
    counter: (stat, value) => void (stat === 'access_log.dropped' && value > 0 && dropped.push(`${value}`)),
    gauge: () => {},
  });
  if (dropped.length > 0) process.stdout.write(`  of them dropped: ${dropped[0]}\n`);
}
