import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../core/index.ts';
import type { ChangeIndex } from './change-index.ts';
import type { CheckDefinition, CheckStatus, ServiceDefinition } from './definitions.ts';
import { longestOutput, type RegistryLimits } from './limits.ts';
import { RegistryProblem } from './reply.ts';

export interface ServiceEntry {
  readonly definition: Omit<ServiceDefinition, 'checks'>;
  readonly createIndex: number;
  readonly modifyIndex: number;
}

export interface CheckEntry {
  readonly definition: CheckDefinition;
  readonly kind: 'ttl' | 'http' | 'tcp' | 'grpc' | 'maintenance' | '';
  /** Came with the registration of its service; Consul shows those a little differently. */
  readonly withService: boolean;
  status: CheckStatus;
  output: string;
  /** Monotonic milliseconds since when it is critical; `undefined` where it is not. */
  criticalSinceMs: number | undefined;
  readonly createIndex: number;
  modifyIndex: number;
}

/** Told when checks come and go, in the turn in which they do. */
export interface CheckListener {
  added(check: CheckEntry): void;
  removed(check: CheckEntry): void;
}

export const nodeMaintenanceId = '_node_maintenance';
const serviceMaintenanceId = (id: string): string => `_service_maintenance:${id}`;
const serfHealthId = 'serfHealth';

const kindOf = ({ http, tcp, grpc }: CheckDefinition): CheckEntry['kind'] =>
  http !== '' ? 'http' : tcp !== '' ? 'tcp' : grpc !== '' ? 'grpc' : 'ttl';

const withoutSource: CheckDefinition = {
  id: '',
  name: '',
  notes: '',
  status: 'critical',
  serviceId: '',
  ttlMs: 0,
  http: '',
  method: '',
  header: {},
  body: '',
  tcp: '',
  tcpUseTls: false,
  grpc: '',
  grpcUseTls: false,
  tlsServerName: '',
  tlsSkipVerify: false,
  intervalMs: 0,
  timeoutMs: 0,
  deregisterAfterMs: 0,
  successBeforePassing: 0,
  failuresBeforeCritical: 0,
  intervalText: '',
  timeoutText: '',
};

export const unknownService = (id: string): RegistryProblem =>
  new RegistryProblem(404, `Unknown service ID "${id}". Ensure that the service ID is passed, not the service name.`);
export const unknownCheck = (id: string): RegistryProblem =>
  new RegistryProblem(404, `Unknown check ID "${id}". Ensure that the check ID is passed, not the check name.`);

const byKey = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : a > b ? 1 : 0);

const sortedValues = <V>(map: ReadonlyMap<string, V> = new Map()): readonly V[] => [...map].sort(byKey).map(([, value]) => value);

const inner = <V>(map: Map<string, Map<string, V>>, key: string): Map<string, V> => {
  const found = map.get(key) ?? new Map<string, V>();
  map.set(key, found);
  return found;
};

const removeInner = <V>(map: Map<string, Map<string, V>>, key: string, innerKey: string): void => {
  const found = map.get(key);
  found?.delete(innerKey);
  if (found?.size === 0) map.delete(key);
};

/**
 * Services and checks of the one node that this registry is, with the indexes of Consul: each change has a number of its own, and
 * whoever watches a service hears of it alone. Pure bookkeeping; who feeds the checks listens through `CheckListener`.
 */
export class Catalogue {
  readonly #clock: Clock;
  readonly #index: ChangeIndex;
  readonly #limits: RegistryLimits;
  readonly #services = new Map<string, ServiceEntry>();
  readonly #checks = new Map<string, CheckEntry>();
  readonly #byName = new Map<string, Map<string, ServiceEntry>>();
  /** By the id of their service; those of the node under ''. */
  readonly #checksOf = new Map<string, Map<string, CheckEntry>>();
  /** The latest change of each service that is there, by its name: of its instances, and of their checks. */
  readonly #serviceIndexes = new Map<string, number>();
  /** When a service was last gone altogether: the index of all that are not there. */
  #goneIndex = 1;
  #servicesIndex = 1;
  #checksIndex = 1;
  #nodeChecksIndex = 1;
  #listener: CheckListener = { added: () => {}, removed: () => {} };

  constructor(clock: Clock, index: ChangeIndex, limits: RegistryLimits) {
    this.#clock = clock;
    this.#index = index;
    this.#limits = limits;
    // Consul's own word about the node; the registry lives as long as it can be asked.
    this.#put(
      { ...withoutSource, id: serfHealthId, name: 'Serf Health Status', status: 'passing' },
      '',
      false,
      'Agent alive and reachable',
    );
  }

  set listener(listener: CheckListener) {
    this.#listener = listener;
  }

  /** Instances in the order of their ids. */
  get services(): readonly ServiceEntry[] {
    return sortedValues(this.#services);
  }

  /** In the order of their ids. */
  get checks(): readonly CheckEntry[] {
    return sortedValues(this.#checks);
  }

  service(id: string): ServiceEntry | undefined {
    return this.#services.get(id);
  }

  check(id: string): CheckEntry | undefined {
    return this.#checks.get(id);
  }

  instancesOf(name: string): readonly ServiceEntry[] {
    return sortedValues(this.#byName.get(name));
  }

  /** Those of the node, and its own. */
  checksFor(serviceId: string): readonly CheckEntry[] {
    return [...sortedValues(this.#checksOf.get('')), ...sortedValues(this.#checksOf.get(serviceId))];
  }

  get servicesIndex(): number {
    return this.#servicesIndex;
  }

  get checksIndex(): number {
    return this.#checksIndex;
  }

  /** Moves with each change of the service, of its checks and of the node's. */
  healthIndex(name: string): number {
    return Math.max(this.#serviceIndexes.get(name) ?? this.#goneIndex, this.#nodeChecksIndex);
  }

  /** As `/v1/agent/service/register`: what is there already under the id is changed, its checks keep their status. */
  register(definition: ServiceDefinition, replaceExistingChecks: boolean): void {
    const { checks, ...described } = definition;
    const former = this.#services.get(definition.id);
    if (former === undefined && this.#services.size >= this.#limits.services)
      throw new RegistryProblem(429, `this registry holds at most ${this.#limits.services} services; production wants Consul`);
    this.#makeRoom(checks);
    if (former !== undefined && former.definition.name !== definition.name) this.deregister(definition.id);
    const entry = this.#services.get(definition.id);
    if (entry === undefined || !isDeepStrictEqual(entry.definition, described)) {
      const index = this.#index.next();
      const changed = { definition: described, createIndex: entry?.createIndex ?? index, modifyIndex: index };
      this.#services.set(definition.id, changed);
      inner(this.#byName, definition.name).set(definition.id, changed);
      this.#servicesIndex = index;
      this.#serviceIndexes.set(definition.name, index);
    }
    if (replaceExistingChecks) {
      const kept = new Set(checks.map(({ id }) => id));
      for (const check of this.#ownChecks(definition.id)) if (!kept.has(check.definition.id)) this.#drop(check);
    }
    for (const check of checks) this.#putKept(check, true);
  }

  deregister(id: string): void {
    const service = this.#services.get(id);
    if (service === undefined) throw unknownService(id);
    for (const check of this.#ownChecks(id)) this.#drop(check);
    this.#services.delete(id);
    const index = this.#index.next();
    const { name } = service.definition;
    removeInner(this.#byName, name, id);
    this.#servicesIndex = index;
    if (this.#byName.has(name)) this.#serviceIndexes.set(name, index);
    else {
      this.#serviceIndexes.delete(name);
      this.#goneIndex = index;
    }
  }

  registerCheck(definition: CheckDefinition): void {
    const { serviceId } = definition;
    if (serviceId !== '' && !this.#services.has(serviceId)) throw new RegistryProblem(404, `ServiceID "${serviceId}" does not exist`);
    this.#makeRoom([definition]);
    this.#putKept(definition, false);
  }

  deregisterCheck(id: string): void {
    const check = this.#checks.get(id);
    if (check === undefined || id === serfHealthId) throw unknownCheck(id);
    this.#drop(check);
  }

  /** A new status moves indexes, a new output alone wakes nobody: so it is in Consul, which tells of outputs minutes later. */
  setStatus(check: CheckEntry, status: CheckStatus, output: string): void {
    if (this.#checks.get(check.definition.id) !== check) return;
    check.output = output.slice(0, longestOutput);
    if (check.status === status) return;
    check.status = status;
    check.criticalSinceMs = status === 'critical' ? this.#clock.now() : undefined;
    this.#touch(check);
  }

  setServiceMaintenance(serviceId: string, reason: string | undefined): void {
    if (!this.#services.has(serviceId)) throw unknownService(serviceId);
    this.#setMaintenance(serviceMaintenanceId(serviceId), 'Service Maintenance Mode', serviceId, reason);
  }

  setNodeMaintenance(reason: string | undefined): void {
    this.#setMaintenance(nodeMaintenanceId, 'Node Maintenance Mode', '', reason);
  }

  /** As `put` by an earlier life of this registry, with what was known of its status. */
  restoreCheck(definition: CheckDefinition, kind: CheckEntry['kind'], withService: boolean, status: CheckStatus, output: string): void {
    if (definition.serviceId === '' || this.#services.has(definition.serviceId))
      this.#put({ ...definition, status }, kind, withService, output);
  }

  #setMaintenance(id: string, name: string, serviceId: string, reason: string | undefined): void {
    const former = this.#checks.get(id);
    if (reason === undefined) {
      if (former !== undefined) this.#drop(former);
    } else if (former === undefined) this.#put({ ...withoutSource, id, name, serviceId, notes: reason }, 'maintenance', true, '');
  }

  #makeRoom(checks: readonly CheckDefinition[]): void {
    const more = checks.filter(({ id }) => !this.#checks.has(id)).length;
    if (this.#checks.size + more > this.#limits.checks)
      throw new RegistryProblem(429, `this registry holds at most ${this.#limits.checks} checks; production wants Consul`);
  }

  /** A check that is registered anew goes on with the status it had, as in Consul: a second registration is no outage. */
  #putKept(definition: CheckDefinition, withService: boolean): void {
    const former = this.#checks.get(definition.id);
    if (former === undefined) {
      this.#put(definition, kindOf(definition), withService, '');
      return;
    }
    // A check that moved to another service is another check.
    if (former.definition.serviceId !== definition.serviceId) {
      this.#drop(former);
      this.#put(definition, kindOf(definition), withService, '');
      return;
    }
    this.#listener.removed(former);
    const unchanged = isDeepStrictEqual(former.definition, definition);
    const { status, output, criticalSinceMs, createIndex, modifyIndex } = former;
    const kept = { definition, kind: kindOf(definition), withService, status, output, criticalSinceMs, createIndex, modifyIndex };
    this.#keep(kept);
    if (!unchanged) this.#touch(kept);
    this.#listener.added(kept);
  }

  #put(definition: CheckDefinition, kind: CheckEntry['kind'], withService: boolean, output: string): void {
    const { status } = definition;
    const index = this.#index.next();
    const criticalSinceMs = status === 'critical' ? this.#clock.now() : undefined;
    const check: CheckEntry = { definition, kind, withService, status, output, criticalSinceMs, createIndex: index, modifyIndex: index };
    this.#keep(check);
    this.#moved(check, index);
    this.#listener.added(check);
  }

  #keep(check: CheckEntry): void {
    const { id, serviceId } = check.definition;
    this.#checks.set(id, check);
    inner(this.#checksOf, serviceId).set(id, check);
  }

  #drop(check: CheckEntry): void {
    const { id, serviceId } = check.definition;
    this.#checks.delete(id);
    removeInner(this.#checksOf, serviceId, id);
    this.#moved(check, this.#index.next());
    this.#listener.removed(check);
  }

  #touch(check: CheckEntry): void {
    check.modifyIndex = this.#index.next();
    this.#moved(check, check.modifyIndex);
  }

  #moved({ definition }: CheckEntry, index: number): void {
    this.#checksIndex = index;
    const service = this.#services.get(definition.serviceId);
    if (service === undefined) this.#nodeChecksIndex = index;
    else this.#serviceIndexes.set(service.definition.name, index);
  }

  #ownChecks(serviceId: string): readonly CheckEntry[] {
    return sortedValues(this.#checksOf.get(serviceId));
  }
}
