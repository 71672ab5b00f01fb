import { join } from 'node:path';
import type { ReadStream, WriteStream } from 'node:tty';
import { type Clock, formatDurationMs, type Timer } from '../core/index.ts';
import type { CatalogueReading } from './catalogue.ts';
import { expectationOf, type FaultKind, type FaultPlan, Faults, faultKinds, faultTargets, faultTitles } from './faults.ts';
import { Ledger } from './ledger.ts';
import { type MeshMember, meshMembers } from './members.ts';
import { DemoMesh } from './mesh.ts';
import type { DemoServiceName } from './protocol.ts';
import type { SidecarReading } from './readings.ts';
import { type DemoView, formatSummary, plainLine, renderScreen, summarize } from './screen.ts';
import { Terminal } from './terminal.ts';
import { Traffic } from './traffic.ts';

export interface DemoOptions {
  /** Ends by itself after this time of traffic. */
  readonly forMs?: number;
  readonly callsPerSecond: number;
  readonly faults: readonly FaultPlan[];
  /** Lines instead of the live screen, also on a terminal. */
  readonly plain: boolean;
  /** The summary as JSON on stdout, everything else on stderr. */
  readonly json: boolean;
}

/** What the demo gets from the process. */
export interface DemoContext {
  readonly clock: Clock;
  readonly program: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** The variables of Consul, which say whose catalogue the services find each other in. */
  readonly consulEnvironment: Readonly<Record<string, string>>;
  readonly input: ReadStream;
  readonly output: WriteStream;
  readonly say: (text: string) => void;
  readonly complain: (text: string) => void;
  /** SIGINT, SIGTERM, SIGHUP. */
  readonly stop: AbortSignal;
  /** Registers what is to be done, at once, should the process end before it is taken back by the returned function. */
  readonly onSuddenEnd: (act: () => void) => () => void;
}

// Reading the admin ports costs the sidecars CPU, which the demo also shows: not more often than eyes need.
const screenIntervalMs = 500;
const lineIntervalMs = 1_000;
const finishWithinMs = 6_000;
const abandonWithinMs = 300;

/** How a run came to its end. */
type Ending = { readonly kind: 'time' } | { readonly kind: 'asked' } | { readonly kind: 'crash'; readonly message: string };

/** One run of the demo, from a running mesh to the last reading. */
class Run {
  readonly #options: DemoOptions;
  readonly #context: DemoContext;
  readonly #mesh: DemoMesh;
  readonly #faults: Faults;
  readonly #ledger: Ledger;
  readonly #traffic: Traffic;
  readonly #timers = new Set<Timer>();
  readonly #terminal: Terminal | undefined;
  readonly #ports: ReadonlyMap<MeshMember, number>;
  readonly #startedMs: number;
  readonly #ended: Promise<Ending>;
  #end: (ending: Ending) => void = () => {};
  #view: DemoView;

  constructor(mesh: DemoMesh, options: DemoOptions, context: DemoContext) {
    const { clock, output, input } = context;
    this.#mesh = mesh;
    this.#options = options;
    this.#context = context;
    this.#faults = new Faults(mesh, () => clock.now());
    this.#ledger = new Ledger(({ service, startedMs, durationMs }) => this.#faults.explains(service, startedMs, startedMs + durationMs));
    this.#traffic = new Traffic({
      clock,
      callsPerSecond: options.callsPerSecond,
      addressOf: () => mesh.entrance,
      onOutcome: (outcome) => this.#ledger.record(outcome),
    });
    const live = output.isTTY === true && !options.plain && !options.json;
    this.#terminal = live ? new Terminal(input, output, (key) => this.#onKey(key)) : undefined;
    this.#ports = new Map(meshMembers.map((name) => [name, mesh.adminPort(name)]));
    this.#startedMs = clock.now();
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#view = this.#look(new Map(), new Map());
  }

  crash(message: string): void {
    this.#end({ kind: 'crash', message });
  }

  /** Resolves with the last view and how it came to an end, with the traffic stopped and the terminal given back. */
  async untilEnd(): Promise<{ readonly view: DemoView; readonly ending: Ending }> {
    const { stop } = this.#context;
    const onStop = (): void => this.#end({ kind: 'asked' });
    if (stop.aborted) onStop();
    stop.addEventListener('abort', onStop);
    this.#terminal?.open();
    this.#traffic.start();
    this.#schedule();
    void this.#refresh();
    const ending = await this.#ended;
    const elapsedMs = this.#context.clock.now() - this.#startedMs;
    for (const timer of this.#timers) timer.cancel();
    this.#terminal?.close();
    await this.#traffic.stop(ending.kind === 'time' ? finishWithinMs : abandonWithinMs);
    stop.removeEventListener('abort', onStop);
    const [readings, catalogue] = await Promise.all([this.#mesh.read(), this.#mesh.readCatalogue()]);
    return { view: { ...this.#look(readings, catalogue), elapsedMs }, ending };
  }

  #schedule(): void {
    const { forMs, faults } = this.#options;
    if (forMs !== undefined) this.#after(forMs, () => this.#end({ kind: 'time' }));
    for (const { kind, service, fromMs, toMs } of faults) {
      this.#after(fromMs, () => this.#switch(kind, service, true));
      if (toMs !== undefined) this.#after(toMs, () => this.#switch(kind, service, false));
    }
  }

  #after(delayMs: number, act: () => void): void {
    const timer = this.#context.clock.setTimer(() => {
      this.#timers.delete(timer);
      act();
    }, delayMs);
    this.#timers.add(timer);
  }

  #onKey(key: string): void {
    // In raw mode Ctrl-C is a character like any other.
    if (key === 'q' || key === '\x03' || key === '\x04') this.#end({ kind: 'asked' });
    const kind = faultKinds[Number(key) - 1];
    if (kind === undefined) return;
    const service = faultTargets[kind];
    this.#switch(kind, service, !this.#faults.isOn(kind, service));
  }

  #switch(kind: FaultKind, service: DemoServiceName, on: boolean): void {
    if (this.#terminal === undefined) {
      const at = formatDurationMs(Math.round((this.#context.clock.now() - this.#startedMs) / 100) * 100);
      const see = on ? `; you should see: ${expectationOf(kind, service)}` : '; it should recover by itself';
      this.#context.say(`at ${at}: ${faultTitles[kind]} ${service}: ${on ? 'on' : 'off'}${see}\n`);
    }
    this.#faults.switch(kind, service, on).catch((error: Error) => this.#end({ kind: 'crash', message: error.message }));
  }

  async #refresh(): Promise<void> {
    const [readings, catalogue] = await Promise.all([this.#mesh.read(), this.#mesh.readCatalogue()]);
    this.#view = this.#look(readings, catalogue);
    if (this.#terminal !== undefined) this.#terminal.draw(renderScreen(this.#view, this.#terminal.columns, this.#terminal.rows));
    else this.#context.say(`${plainLine(this.#view)}\n`);
    this.#after(this.#terminal === undefined ? lineIntervalMs : screenIntervalMs, () => void this.#refresh());
  }

  #look(readings: ReadonlyMap<MeshMember, SidecarReading>, catalogue: CatalogueReading): DemoView {
    return {
      elapsedMs: this.#context.clock.now() - this.#startedMs,
      callsPerSecond: this.#options.callsPerSecond,
      inFlight: this.#traffic.inFlight,
      retries: this.#mesh.retries,
      cpuMs: this.#mesh.cpuMs,
      ledger: this.#ledger,
      readings,
      catalogue,
      catalogueName: this.#mesh.catalogue,
      activeFaults: this.#faults.active,
      adminPorts: this.#ports,
      policyFile: join(this.#mesh.folder, 'policies', 'mesh.yaml'),
    };
  }
}

const introduce = (mesh: DemoMesh, startedWithinMs: number): string => {
  const ports = meshMembers.map((name) => `  ${name.padEnd(20)} dashboard http://127.0.0.1:${mesh.adminPort(name)}/\n`).join('');
  const policies = join(mesh.folder, 'policies', 'mesh.yaml');
  return `the mesh runs after ${formatDurationMs(Math.round(startedWithinMs))}: 3 services, 4 sidecars, mTLS between them\n${ports}  catalogue            ${mesh.catalogue}\n  policies             ${policies}\n`;
};

/**
 * Builds the mesh, makes calls, and takes everything down again. Resolves with the exit code: 0 when nothing failed that should not
 * have, else 1. Whatever happens, no process, no file and no changed terminal stay behind.
 */
export const runDemo = async (options: DemoOptions, context: DemoContext): Promise<number> => {
  const { clock, say, complain, stop, program, environment, consulEnvironment } = context;
  const tell = options.json ? complain : say;
  let run: Run | undefined;
  let crashed: string | undefined;
  const onCrash = (message: string): void => {
    crashed ??= message;
    run?.crash(message);
  };
  const startedMs = clock.now();
  tell('starting certificates, services and sidecars\n');
  const mesh = new DemoMesh({ clock, program, environment, consulEnvironment, say: tell, onCrash });
  const takeBack = context.onSuddenEnd(() => mesh.abandon());
  try {
    const interrupted = new Promise<never>((_resolve, reject) => {
      stop.addEventListener('abort', () => reject(new Error('ended before the mesh was up')), { once: true });
    });
    interrupted.catch(() => {});
    await Promise.race([mesh.start(), interrupted]);
    tell(introduce(mesh, clock.now() - startedMs));
    run = new Run(mesh, options, { ...context, say: tell });
    if (crashed !== undefined) run.crash(crashed);
    const { view, ending } = await run.untilEnd();
    const summary = summarize(view);
    say(options.json ? `${JSON.stringify(summary, null, 2)}\n` : formatSummary(summary));
    if (ending.kind === 'crash') complain(`error: ${ending.message}\n`);
    return ending.kind === 'crash' || summary.calls === 0 || summary.unexpected > 0 ? 1 : 0;
  } catch (error) {
    complain(`error: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  } finally {
    await mesh.stop();
    takeBack();
  }
};
