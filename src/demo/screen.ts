import { formatDurationMs } from '../core/index.ts';
import type { CatalogueReading, CatalogueStatus } from './catalogue.ts';
import { expectationOf, type FaultKind, faultKinds, faultTargets, faultTitles } from './faults.ts';
import type { CallOutcome, Ledger } from './ledger.ts';
import { clientName, type MeshMember } from './members.ts';
import type { DemoServiceName } from './protocol.ts';
import type { SidecarReading } from './readings.ts';

/** Everything that the live screen and the plain lines show. */
export interface DemoView {
  readonly elapsedMs: number;
  readonly callsPerSecond: number;
  readonly inFlight: number;
  readonly retries: number;
  readonly cpuMs: number | undefined;
  readonly ledger: Ledger;
  readonly readings: ReadonlyMap<MeshMember, SidecarReading>;
  readonly catalogue: CatalogueReading;
  /** What the services find each other in. */
  readonly catalogueName: string;
  readonly activeFaults: readonly { readonly kind: FaultKind; readonly service: DemoServiceName }[];
  readonly adminPorts: ReadonlyMap<MeshMember, number>;
  readonly policyFile: string;
}

/** Which calls there are between whom: the client calls everybody, auth-svc calls learner-svc. */
const edges: readonly { readonly caller: MeshMember; readonly cluster: DemoServiceName }[] = [
  { caller: clientName, cluster: 'auth-svc' },
  { caller: clientName, cluster: 'learner-svc' },
  { caller: clientName, cluster: 'event-collector-svc' },
  { caller: 'auth-svc', cluster: 'learner-svc' },
];

const bold = (text: string): string => `\x1b[1m${text}\x1b[22m`;
const faint = (text: string): string => `\x1b[2m${text}\x1b[22m`;
const colours = { green: 32, yellow: 33, red: 31 } as const;
const colour = (name: keyof typeof colours, text: string): string => `\x1b[${colours[name]}m${text}\x1b[39m`;

const breakerColours: Readonly<Record<string, keyof typeof colours>> = { CLOSED: 'green', HALF_OPEN: 'yellow', OPEN: 'red' };
const paintBreaker = (state: string, width: number): string => colour(breakerColours[state] ?? 'yellow', state.padEnd(width));

const formatMs = (ms: number): string =>
  ms < 10 ? `${ms.toFixed(1)} ms` : ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;

/** CPU milliseconds of all sidecars for one call, as text; says so where the system does not tell. */
const formatCpuPerCall = (cpuMs: number | undefined, calls: number): string => {
  if (cpuMs === undefined) return 'not measured on this system';
  return calls === 0 ? 'no calls' : `${(cpuMs / calls).toFixed(2)} ms`;
};

const clockOf = (ms: number): string => {
  const seconds = Math.floor(ms / 1_000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
};

const totals = ({ ledger, retries, inFlight }: DemoView): string =>
  `calls ${ledger.calls}  ok ${ledger.ok}  without profile ${ledger.degraded}  failed ${ledger.failed}  retried ${retries}  in flight ${inFlight}`;

const reasonsText = (ledger: Ledger): string => ledger.reasons.map(([reason, count]) => `${reason} ${count}`).join(', ') || 'none';

const edgeLines = ({ readings }: DemoView): readonly string[] =>
  edges.map(({ caller, cluster }) => {
    const reading = readings.get(caller)?.get(cluster);
    const cells = [caller.padEnd(13), cluster.padEnd(21), paintBreaker(reading?.breaker ?? '-', 11)];
    return `${cells.join('')}${String(reading?.requests ?? 0).padStart(8)}${String(reading?.retries ?? 0).padStart(9)}`;
  });

const statusColours: Readonly<Record<CatalogueStatus, keyof typeof colours>> = { passing: 'green', critical: 'red', absent: 'yellow' };

const catalogueLine = ({ catalogue }: DemoView): string => {
  const services = [...catalogue].map(([name, status]) => `${name} ${colour(statusColours[status], status)}`);
  return `in the catalogue: ${services.join('  ') || 'it does not answer'}`;
};

const faultLines = (view: DemoView, columns: number): readonly string[] => {
  const lines = faultKinds.map((kind, i) => {
    const service = faultTargets[kind];
    const on = view.activeFaults.some((fault) => fault.kind === kind && fault.service === service);
    const text = `[${i + 1}] ${faultTitles[kind]} ${service}`.padEnd(44);
    return on ? `${bold(text)}${colour('red', 'ON')}` : `${text}off`;
  });
  const latest = view.activeFaults.at(-1);
  const expectation =
    latest === undefined ? 'a number switches a fault on, and off again' : `you should see: ${expectationOf(latest.kind, latest.service)}`;
  return [...lines, ...wrap(expectation, columns).map(faint)];
};

const callLine = ({ method, service, result, reason, durationMs }: CallOutcome): string => {
  const what = result === 'ok' ? 'ok' : result === 'degraded' ? `ok, without profile: ${reason}` : reason;
  const paint = result === 'ok' ? 'green' : result === 'degraded' ? 'yellow' : 'red';
  return `${service.padEnd(21)}${method.padEnd(14)}${formatMs(durationMs).padStart(8)}  ${colour(paint, what)}`;
};

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is looked for
const escapeSequence = /\x1b\[[0-9;]*m/y;

/** Cuts a line to `width` visible characters; escape sequences take no room, and none is cut in two. */
export const clip = (line: string, width: number): string => {
  let out = '';
  let visible = 0;
  for (let i = 0; i < line.length; ) {
    escapeSequence.lastIndex = i;
    const sequence = escapeSequence.exec(line)?.[0];
    if (sequence !== undefined) {
      out += sequence;
      i += sequence.length;
    } else {
      if (visible < width) out += line[i];
      visible++;
      i++;
    }
  }
  return out;
};

/** Breaks a text at blanks into lines of at most `width` characters. */
export const wrap = (text: string, width: number): readonly string[] => {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
};

/** The live screen: at most `rows` lines of at most `columns` visible characters; the latest calls take what is left. */
export const renderScreen = (view: DemoView, columns: number, rows: number): readonly string[] => {
  const { ledger } = view;
  const title = `Outrider demo mesh  ${clockOf(view.elapsedMs)}`;
  const speed = `p50 ${formatMs(ledger.percentileMs(50))}  p99 ${formatMs(ledger.percentileMs(99))}  ${view.callsPerSecond} calls/s  CPU of all sidecars a call ${formatCpuPerCall(view.cpuMs, ledger.calls)}`;
  const ports = [...view.adminPorts].map(([name, port]) => `${name} http://127.0.0.1:${port}/`).join('  ');
  const lines = [
    `${bold(title)}${'q or Ctrl-C ends'.padStart(Math.max(1, Math.min(columns, 80) - title.length))}`,
    '',
    totals(view),
    speed,
    `broken by reason: ${reasonsText(ledger)}`,
    '',
    faint('caller       calls                breaker    attempts  retries'),
    ...edgeLines(view),
    '',
    catalogueLine(view),
    '',
    ...faultLines(view, columns),
    '',
    ...wrap(`dashboards: ${ports}`, columns).map(faint),
    faint(`catalogue: ${view.catalogueName}`),
    faint(`policies: ${view.policyFile}`),
    '',
  ];
  const room = Math.max(0, rows - lines.length);
  const latest = room === 0 ? [] : ledger.recent.slice(-room).reverse().map(callLine);
  return [...lines, ...latest].slice(0, rows).map((line) => clip(line, columns));
};

/** One line a second for where there is no terminal. */
export const plainLine = (view: DemoView): string => {
  const open = edges
    .map(({ caller, cluster }) => ({ caller, cluster, breaker: view.readings.get(caller)?.get(cluster)?.breaker ?? 'CLOSED' }))
    .filter(({ breaker }) => breaker !== 'CLOSED')
    .map(({ caller, cluster, breaker }) => `${caller}->${cluster} ${breaker}`);
  const breakers = open.length === 0 ? 'all closed' : open.join(', ');
  const gone = [...view.catalogue].filter(([, status]) => status !== 'passing').map(([name, status]) => `${name} ${status}`);
  const catalogue = view.catalogue.size === 0 ? 'does not answer' : gone.length === 0 ? 'all passing' : gone.join(', ');
  return `${clockOf(view.elapsedMs)}  ${totals(view)}  breakers: ${breakers}  catalogue: ${catalogue}`;
};

/** What remains of a run. */
export interface DemoSummary {
  readonly seconds: number;
  readonly calls: number;
  readonly ok: number;
  readonly withoutProfile: number;
  readonly failed: number;
  readonly ended: number;
  readonly retried: number;
  readonly brokenByReason: Readonly<Record<string, number>>;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU of all sidecars, milliseconds; null where the system does not tell. */
  readonly cpuPerCallMs: number | null;
  readonly cpuPerPassMs: number | null;
  readonly unexpected: number;
  readonly firstUnexpected: string | null;
}

const round = (value: number): number => Number(value.toFixed(3));

export const summarize = ({ ledger, elapsedMs, retries, cpuMs }: DemoView): DemoSummary => {
  const first = ledger.firstUnexpected;
  const per = (count: number): number | null => (cpuMs === undefined || count === 0 ? null : round(cpuMs / count));
  return {
    seconds: round(elapsedMs / 1_000),
    calls: ledger.calls,
    ok: ledger.ok,
    withoutProfile: ledger.degraded,
    failed: ledger.failed,
    ended: ledger.ended,
    retried: retries,
    brokenByReason: Object.fromEntries(ledger.reasons),
    p50Ms: round(ledger.percentileMs(50)),
    p99Ms: round(ledger.percentileMs(99)),
    cpuPerCallMs: per(ledger.calls),
    cpuPerPassMs: per(ledger.passes),
    unexpected: ledger.unexpected,
    firstUnexpected: first === undefined ? null : `${first.service} ${first.method}: ${first.reason} ${first.message}`.trim(),
  };
};

export const formatSummary = (summary: DemoSummary): string => {
  const reasons = Object.entries(summary.brokenByReason).map(([reason, count]) => `${reason} ${count}`);
  const cpu =
    summary.cpuPerCallMs === null
      ? 'not measured on this system'
      : `${summary.cpuPerCallMs} ms a call, ${summary.cpuPerPassMs} ms a pass through one of them`;
  const verdict =
    summary.calls === 0
      ? 'no call was made'
      : summary.unexpected === 0
        ? 'nothing failed that should not have'
        : `${summary.unexpected} calls failed that should not have; the first: ${summary.firstUnexpected}`;
  const rows: readonly (readonly [string, string])[] = [
    ['time', formatDurationMs(Math.round(summary.seconds * 1_000))],
    ['calls', String(summary.calls)],
    ['ok', String(summary.ok)],
    ['without profile', `${summary.withoutProfile} (auth-svc answered although learner-svc did not)`],
    ['failed', String(summary.failed)],
    ...(summary.ended === 0 ? [] : [['cut off at end', String(summary.ended)] as const]),
    ['retried', String(summary.retried)],
    ['broken by reason', reasons.join(', ') || 'none'],
    ['latency', `p50 ${formatMs(summary.p50Ms)}, p99 ${formatMs(summary.p99Ms)}`],
    ['CPU of sidecars', `${cpu} (barely warm: no benchmark)`],
  ];
  return `${rows.map(([name, value]) => `  ${name.padEnd(17)} ${value}\n`).join('')}${verdict}\n`;
};
