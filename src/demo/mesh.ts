import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../core/index.ts';
import type { IdentityPaths } from '../identity/index.ts';
import { Catalogue, type CatalogueReading } from './catalogue.ts';
import { demoTrustDomain, makeIdentities } from './certificates.ts';
import { Child, type ReadyLine } from './child.ts';
import { clientName, type MeshMember, meshMembers } from './members.ts';
import { policyText } from './policy-text.ts';
import { type DemoServiceName, demoServices } from './protocol.ts';
import { readCpuMs, readSidecar, type SidecarReading } from './readings.ts';
import type { ServiceOrder } from './service-process.ts';

export interface DemoMeshOptions {
  readonly clock: Clock;
  /** How to run this program once more: the path of Node and of `main`. */
  readonly program: readonly string[];
  /** What children inherit of the environment: `PATH` and its like, nothing that configures a sidecar. */
  readonly environment: Readonly<Record<string, string>>;
  /** The variables of Consul, where the demo was given some. */
  readonly consulEnvironment: Readonly<Record<string, string>>;
  readonly say: (text: string) => void;
  readonly onCrash: (message: string) => void;
}

interface Ports {
  readonly inbound: number;
  readonly outbound: number;
  readonly admin: number;
}

interface Sidecar {
  readonly child: Child;
  readonly ports: Ports;
  /** CPU at the moment from which calls are counted: starting up is not a cost per call. */
  cpuStartMs: number;
  reading: SidecarReading;
}

const stopWithinMs = 4_000;
const endpointsWithinMs = 15_000;
const pollIntervalMs = 50;

const portsOf = (name: string, ready: ReadyLine): Ports => {
  const { inbound, outbound, admin } = ready;
  if (typeof inbound === 'number' && typeof outbound === 'number' && typeof admin === 'number') return { inbound, outbound, admin };
  throw new Error(`the sidecar of ${name} is ready but does not say on which ports: ${JSON.stringify(ready)}`);
};

/**
 * Three services, four sidecars, the catalogue in which they find each other, certificates and policies, all in processes and a folder of their own. `start` builds it up in the
 * order in which the parts need each other; `stop` leaves no process and no file behind, also after a start that failed half-way.
 */
export class DemoMesh {
  readonly #options: DemoMeshOptions;
  readonly #folder: string;
  readonly #policies: string;
  readonly #services = new Map<DemoServiceName, { child: Child; readonly port: number }>();
  readonly #sidecars = new Map<MeshMember, Sidecar>();
  #identities: Readonly<Record<MeshMember, IdentityPaths>> | undefined;
  #strangers: Readonly<Record<MeshMember, IdentityPaths>> | undefined;
  readonly #strangerSidecars = new Map<DemoServiceName, Child>();
  #catalogue: Catalogue | undefined;
  /** What was started for the catalogue; one that did not come up is in it, too. */
  readonly #catalogueChildren: Child[] = [];
  #starting: Promise<void> | undefined;
  #stopped = false;

  constructor(options: DemoMeshOptions) {
    this.#options = options;
    this.#folder = mkdtempSync(join(tmpdir(), 'outrider-demo-'));
    this.#policies = join(this.#folder, 'policies');
  }

  /** Rejects with a message for people where a part does not come up, or where `stop` comes first. */
  start(): Promise<void> {
    this.#starting = this.#build();
    return this.#starting;
  }

  async #build(): Promise<void> {
    const { clock } = this.#options;
    mkdirSync(this.#policies);
    this.#identities = await makeIdentities(join(this.#folder, 'certs'), meshMembers, clock);
    this.#strangers = await makeIdentities(join(this.#folder, 'certs-of-another-mesh'), meshMembers, clock);
    writeFileSync(join(this.#policies, 'mesh.yaml'), policyText());
    const [catalogue] = await Promise.all([this.#startCatalogue(), ...demoServices.map((name) => this.startService(name))]);
    this.#catalogue = catalogue;
    await Promise.all(meshMembers.map((name) => this.#startSidecar(name)));
    for (const name of demoServices) this.#connectService(name);
    // The sidecars find each other by themselves.
    await this.#untilEndpointsArrive();
    for (const sidecar of this.#sidecars.values()) sidecar.cpuStartMs = cpuOf(sidecar);
  }

  get folder(): string {
    return this.#folder;
  }

  /** Where the client calls: the outbound port of its own sidecar. */
  get entrance(): string {
    return `127.0.0.1:${this.#sidecarOf(clientName).ports.outbound}`;
  }

  adminPort(member: MeshMember): number {
    return this.#sidecarOf(member).ports.admin;
  }

  /** For people: what the services find each other in. */
  get catalogue(): string {
    return this.#catalogue?.description ?? 'none';
  }

  /** How the catalogue sees the services. */
  async readCatalogue(): Promise<CatalogueReading> {
    return (await this.#catalogue?.read()) ?? new Map();
  }

  order(name: DemoServiceName, order: ServiceOrder): void {
    this.#services.get(name)?.child.tell(order);
  }

  /** Starts a service; one that was killed comes back on its former port, where its sidecar looks for it. */
  async startService(name: DemoServiceName): Promise<void> {
    const former = this.#services.get(name);
    const port = String(former?.port ?? 0);
    const child = this.#spawn(`service ${name}`, ['demo-service', '--name', name, '--port', port], {});
    this.#services.set(name, { child, port: former?.port ?? 0 });
    const ready = await child.ready();
    this.#services.set(name, { child, port: Number(ready['port']) });
    if (former !== undefined) this.#connectService(name);
  }

  async killService(name: DemoServiceName): Promise<void> {
    await this.#services.get(name)?.child.kill();
  }

  /**
   * Registers a sidecar with a certificate of another mesh as `name`, and takes the true one out by Consul's maintenance mode: whoever
   * has a place in the catalogue does not have the identity. The true sidecar stays where it is.
   */
  async replaceByStranger(name: DemoServiceName): Promise<void> {
    const child = this.#spawnSidecar(`foreign sidecar of ${name}`, name, this.#strangers);
    this.#strangerSidecars.set(name, child);
    await child.ready();
    await this.#setMaintenance(name, true);
  }

  /** Ends the maintenance of the true sidecar, and the other one. */
  async removeStranger(name: DemoServiceName): Promise<void> {
    await this.#setMaintenance(name, false);
    await this.#strangerSidecars.get(name)?.stop(stopWithinMs);
    this.#strangerSidecars.delete(name);
  }

  /** Asks every sidecar for its state; one that does not answer just now keeps its last. */
  async read(): Promise<ReadonlyMap<MeshMember, SidecarReading>> {
    await Promise.all([...this.#sidecars.values()].map((sidecar) => this.#refresh(sidecar).catch(() => {})));
    return new Map([...this.#sidecars].map(([name, { reading }]) => [name, reading]));
  }

  /** Attempts beyond the first, of all sidecars since the start. */
  get retries(): number {
    let retries = 0;
    for (const { reading } of this.#sidecars.values()) retries += retriesOf(reading);
    return retries;
  }

  /** CPU of all sidecars since the mesh was ready; `undefined` where the system does not tell. */
  get cpuMs(): number | undefined {
    let cpuMs = 0;
    for (const sidecar of this.#sidecars.values()) {
      if (sidecar.child.pid === undefined) continue;
      if (readCpuMs(sidecar.child.pid) === undefined) return undefined;
      cpuMs += cpuOf(sidecar) - sidecar.cpuStartMs;
    }
    return cpuMs;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    const stop = (children: readonly Child[]): Promise<unknown> => Promise.all(children.map((child) => child.stop(stopWithinMs)));
    await stop(this.#allSidecars);
    await stop(Array.from(this.#services.values(), ({ child }) => child));
    // Certificates may still be written by a start that was interrupted.
    await this.#starting?.catch(() => {});
    this.#catalogue?.close();
    // The last to go: those who leave tell it so.
    await stop(this.#catalogueChildren);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #allSidecars(): readonly Child[] {
    return [...Array.from(this.#sidecars.values(), ({ child }) => child), ...this.#strangerSidecars.values()];
  }

  /** For a process that ends by an error of its own and has no turn left to wait in. */
  abandon(): void {
    this.#stopped = true;
    const services = Array.from(this.#services.values(), ({ child }) => child);
    for (const child of [...this.#allSidecars, ...services, ...this.#catalogueChildren]) child.abandon();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #spawn(name: string, parameters: readonly string[], environment: Readonly<Record<string, string>>): Child {
    return this.#spawnProgram(name, [...this.#options.program, ...parameters], environment);
  }

  #spawnProgram(
    name: string,
    command: readonly string[],
    environment: Readonly<Record<string, string>>,
    isReady?: () => Promise<boolean>,
  ): Child {
    // A start or a fault may still be under way when the demo is told to end: nothing new may appear behind its back.
    if (this.#stopped) throw new Error(`the ${name} is not started, since the demo is ending`);
    const { clock, onCrash } = this.#options;
    return new Child({
      name,
      command,
      environment: { ...this.#options.environment, ...environment },
      clock,
      onCrash,
      ...(isReady === undefined ? {} : { isReady }),
    });
  }

  #startCatalogue(): Promise<Catalogue> {
    const { clock, consulEnvironment, environment, say } = this.#options;
    const keep = (child: Child): Child => {
      this.#catalogueChildren.push(child);
      return child;
    };
    return Catalogue.start({
      clock,
      consulEnvironment,
      path: environment['PATH'] ?? '',
      startRegistry: () => keep(this.#spawn('registry', ['registry', '--listen', '127.0.0.1:0'], {})),
      startConsul: (command, isReady) => keep(this.#spawnProgram('consul of PATH', command, {}, isReady)),
      say,
    });
  }

  async #setMaintenance(name: DemoServiceName, enable: boolean): Promise<void> {
    await this.#catalogue?.setMaintenance(`${name}-127.0.0.1-${this.#sidecarOf(name).ports.inbound}`, enable);
  }

  async #startSidecar(name: MeshMember): Promise<void> {
    const child = this.#spawnSidecar(`sidecar of ${name}`, name, this.#identities);
    // Known before it is ready, so that `stop` also ends one that never became so.
    this.#sidecars.set(name, { child, ports: { inbound: 0, outbound: 0, admin: 0 }, cpuStartMs: 0, reading: new Map() });
    this.#sidecars.set(name, { child, ports: portsOf(name, await child.ready()), cpuStartMs: 0, reading: new Map() });
  }

  #spawnSidecar(label: string, name: MeshMember, identities: Readonly<Record<MeshMember, IdentityPaths>> | undefined): Child {
    const paths = identities?.[name];
    if (paths === undefined) throw new Error(`no certificates were made for ${name}`);
    // The client's sidecar has no service behind it; port 9 (discard) is where nobody listens.
    const localPort = name === clientName ? 9 : (this.#services.get(name)?.port ?? 0);
    return this.#spawn(label, ['sidecar'], {
      SERVICE_NAME: name,
      GRPC_PORT: '0',
      OUTBOUND_PORT: '0',
      ADMIN_PORT: '0',
      LOCAL_SERVICE_PORT: String(localPort),
      CA_CERT_PATH: paths.caCertPath,
      CLIENT_CERT_PATH: paths.clientCertPath,
      CLIENT_KEY_PATH: paths.clientKeyPath,
      TRUST_DOMAIN: demoTrustDomain,
      POLICY_PATH: this.#policies,
      DRAIN_TIMEOUT: '2s',
      // Everybody ends at once here.
      DRAIN_DELAY: '0s',
      SERVICE_ADDRESS: '127.0.0.1',
      LOCAL_SERVICE_HEALTH_INTERVAL: '1s',
      REGISTRATION: name === clientName ? 'off' : 'on',
      ...this.#catalogue?.environment,
    });
  }

  #sidecarOf(name: MeshMember): Sidecar {
    const sidecar = this.#sidecars.get(name);
    if (sidecar === undefined) throw new Error(`the sidecar of ${name} has not been started`);
    return sidecar;
  }

  #connectService(name: DemoServiceName): void {
    this.order(name, { order: 'connect', address: `127.0.0.1:${this.#sidecarOf(name).ports.outbound}` });
  }

  async #untilEndpointsArrive(): Promise<void> {
    const { clock } = this.#options;
    const startedMs = clock.now();
    for (;;) {
      const readings = await this.read();
      const knowsAll = (reading: SidecarReading): boolean => demoServices.every((name) => (reading.get(name)?.endpoints ?? 0) > 0);
      const late = [...readings].filter(([, reading]) => !knowsAll(reading)).map(([name]) => name);
      if (late.length === 0) return;
      if (this.#stopped) throw new Error('the demo is ending');
      if (clock.now() - startedMs > endpointsWithinMs)
        throw new Error(`the sidecar of ${late.join(', ')} has not found all services in ${this.catalogue}`);
      await new Promise<void>((resolve) => {
        clock.setTimer(resolve, pollIntervalMs);
      });
    }
  }

  async #refresh(sidecar: Sidecar): Promise<void> {
    if (sidecar.child.pid !== undefined) sidecar.reading = await readSidecar(sidecar.ports.admin);
  }
}

const cpuOf = ({ child, cpuStartMs }: Sidecar): number => (child.pid === undefined ? cpuStartMs : (readCpuMs(child.pid) ?? cpuStartMs));

const retriesOf = (reading: SidecarReading): number => {
  let retries = 0;
  for (const cluster of reading.values()) retries += cluster.retries;
  return retries;
};
