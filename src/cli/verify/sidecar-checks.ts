import { type Address, parseAddress } from './address.ts';
import type { AdminPort, SidecarCluster, SidecarHost } from './admin-port.ts';
import { type CheckResult, failed, ok, skipped, warning } from './check-result.ts';
import { checkClock } from './clock-checks.ts';
import { UnansweredError } from './network-failure.ts';
import type { VerifyPlan } from './plan.ts';

/** A policy state that can be held against that of others. */
export interface SeenPolicies {
  readonly service: string;
  readonly admin: string;
  readonly version: string;
  readonly files: number;
}

/** Where a sidecar finds the service beside it. */
export interface LocalService {
  readonly address: Address;
  /** It does not answer there, or says that it does not serve. */
  readonly isUnhealthy: boolean;
}

export interface SidecarFindings {
  readonly results: readonly CheckResult[];
  readonly policies: SeenPolicies | undefined;
  readonly local: LocalService | undefined;
}

export const nothingSeen = (results: readonly CheckResult[]): SidecarFindings => ({ results, policies: undefined, local: undefined });

/** `local_service` is the service beside the sidecar, not a cluster that somebody calls. */
const localCluster = 'local_service';

const longestList = 3;
const listed = (items: readonly string[]): string =>
  items.length <= longestList ? items.join(', ') : `${items.slice(0, longestList).join(', ')} and ${items.length - longestList} more`;

/** What the sidecar says of itself at its admin port. @param isExpected somebody said that it is there, or it is on this machine */
export const checkSidecar = async (admin: AdminPort, service: string, isExpected: boolean, plan: VerifyPlan): Promise<SidecarFindings> => {
  const option = ` --admin ${admin.shown}`;
  try {
    const [info, ready, policies, clusters] = await Promise.all([admin.serverInfo(), admin.ready(), admin.policies(), admin.clusters()]);
    if (info.service !== service) {
      const remedy = `outrider verify --admin ${service}=<host:port>  # ADMIN_PORT of the sidecar of ${service}`;
      return nothingSeen([failed('admin', `${admin.shown} is the admin port of ${info.service}`, remedy)]);
    }
    const beside = clusters.find((cluster) => cluster.name === localCluster)?.hosts[0];
    return {
      results: [
        ok('admin', `${admin.shown}, Outrider ${info.version}`),
        ...(info.time === undefined ? [] : [checkClock('clock', `${service} at ${admin.shown}`, info.time, plan.clockSkewMs)]),
        readiness(info.state, ready.status, ready.body, service, admin.shown),
        ...(info.registration === undefined ? [] : [registered(info.registration, option)]),
        overload(info.overload, option),
        localService(beside, option),
        policyState(policies, admin.shown),
        breakers(clusters, option),
        ejections(clusters, option),
        discovery(clusters, option),
      ],
      policies: { service, admin: admin.shown, version: policies.version, files: policies.files },
      local: localServiceOf(beside),
    };
  } catch (error) {
    if (!(error instanceof UnansweredError)) throw error;
    const { kind, why } = error.failure;
    const detail = `${admin.shown}: ${why}`;
    if (isExpected || kind === 'broken')
      return nothingSeen([
        failed(
          'admin',
          detail,
          `outrider verify --admin ${service}=<host:port>  # where ADMIN_ADDRESS and ADMIN_PORT of its sidecar say; or start it: outrider sidecar`,
        ),
      ]);
    return nothingSeen([
      skipped(
        'admin',
        `${detail}; it may listen on the loopback of its machine only: ask there, or name it with --admin ${service}=host:port`,
      ),
    ]);
  }
};

const readiness = (state: string, status: number, body: string, service: string, admin: string): CheckResult => {
  if (status === 200) return ok('ready', body.trim().slice(0, 400) || state);
  if (state === 'DRAINING')
    return failed(
      'ready',
      'is draining: it takes no new calls and ends when those it has are done',
      `outrider sidecar  # start another one with SERVICE_NAME=${service}`,
    );
  return failed('ready', `is not ready: ${body.trim().slice(0, 200)}`, `curl -s http://${admin}/ready`);
};

const registered = (
  { id, state, error }: { readonly id: string; readonly state: string; readonly error: string | undefined },
  option: string,
): CheckResult =>
  state === 'registered'
    ? ok('registration.agent', `registers itself as ${id}`)
    : failed(
        'registration.agent',
        `${id} is ${state}${error === undefined ? '' : `: ${error}`}`,
        `outrider stats${option} --filter '^registration'`,
      );

const overload = (actions: readonly string[], option: string): CheckResult =>
  actions.length === 0
    ? ok('overload', 'none')
    : failed(
        'overload',
        `acts against it: ${actions.join(', ')}`,
        `outrider stats${option} --filter '^overload'  # give it more, or send it less`,
      );

const localServiceOf = (host: SidecarHost | undefined): LocalService | undefined => {
  const address = host === undefined ? undefined : parseAddress(host.address);
  return address === undefined ? undefined : { address, isUnhealthy: host?.checkState === 'unhealthy' };
};

const localService = (host: SidecarHost | undefined, option: string): CheckResult => {
  if (host === undefined) return skipped('local_service', 'this release of the sidecar does not say how its service is');
  if (host.checkState === undefined) return skipped('local_service', 'nobody asks it: LOCAL_SERVICE_HEALTH_INTERVAL is 0s');
  if (host.checkState === 'unhealthy')
    return failed(
      'local_service',
      `${host.address}: ${host.checkWhy}`,
      `outrider stats${option} --filter '^local_service'  # start the service; LOCAL_SERVICE_PORT says where it has to listen`,
    );
  return host.checkState === 'healthy'
    ? ok('local_service', `${host.address} ${host.checkWhy}`)
    : skipped('local_service', `${host.address} was not asked yet`);
};

const policyState = (
  { version, files, warnings, lastProblems }: Awaited<ReturnType<AdminPort['policies']>>,
  admin: string,
): CheckResult => {
  if (lastProblems.length > 0) {
    const remedy = `outrider policy check <path>  # POLICY_PATH of that sidecar; then: curl -s -X POST http://${admin}/reload`;
    return failed('policies', `the last change was refused, and the one before is in force: ${listed(lastProblems)}`, remedy);
  }
  if (files === 0) return ok('policies', 'none: names are looked up, and defaults hold');
  const detail = `${files} ${files === 1 ? 'file' : 'files'}, version ${version.slice(0, 12)}`;
  return ok(
    'policies',
    warnings === 0 ? detail : `${detail}, ${warnings} ${warnings === 1 ? 'warning' : 'warnings'} (outrider policy check)`,
  );
};

const breakers = (clusters: readonly SidecarCluster[], option: string): CheckResult => {
  const standing = clusters.flatMap((cluster) => cluster.standing);
  const first = standing[0];
  if (first === undefined) return ok('breakers', 'all closed');
  const words = standing.map(
    ({ cluster, state, of, heldUntil }) =>
      `${cluster}${of === undefined ? '' : ` (${of})`} ${state}${heldUntil === undefined ? '' : `, held until ${heldUntil}`}`,
  );
  const remedy = `outrider breaker reset ${first.cluster}${option}  # after what fails there is mended: outrider clusters${option}`;
  return standing.some(({ state }) => state === 'OPEN')
    ? failed('breakers', listed(words), remedy)
    : warning('breakers', listed(words), remedy);
};

const ejections = (clusters: readonly SidecarCluster[], option: string): CheckResult => {
  const out = clusters.flatMap(({ name, hosts }) =>
    hosts.filter(({ ejectedFor }) => ejectedFor !== undefined).map((host) => ({ name, ...host })),
  );
  const first = out[0];
  if (first === undefined) return ok('ejections', 'none');
  const remedy = `outrider clusters uneject ${first.name} ${first.address}${option}  # after it is mended`;
  return warning('ejections', listed(out.map(({ name, address, ejectedFor }) => `${address} of ${name} for ${ejectedFor}`)), remedy);
};

/** Nobody knows any more whether the endpoints are right, or there are none to call. */
const discovery = (clusters: readonly SidecarCluster[], option: string): CheckResult => {
  const peers = clusters.filter(({ name }) => name !== localCluster);
  const stale = peers.find(({ sourceError }) => sourceError !== undefined);
  const remedy = `outrider clusters${option}  # or: outrider stats${option} --filter discovery_staleness`;
  if (stale !== undefined) {
    const kept = stale.hosts.length === 0 ? 'and there is no endpoint' : 'the last endpoints are kept';
    return failed('discovery', `${stale.name}: ${stale.sourceError} (for ${Math.round(stale.stalenessSeconds)} s, ${kept})`, remedy);
  }
  const dead = peers.filter(({ hosts }) => hosts.length > 0 && hosts.every(({ isHealthy }) => !isHealthy)).map(({ name }) => name);
  if (dead.length > 0) return failed('discovery', `no endpoint is healthy: ${listed(dead)}`, remedy);
  const empty = peers.filter(({ hosts }) => hosts.length === 0).map(({ name }) => name);
  if (empty.length > 0) return warning('discovery', `no endpoints: ${listed(empty)}`, remedy);
  return ok(
    'discovery',
    peers.length === 0 ? 'no clusters in use yet' : `${peers.length} ${peers.length === 1 ? 'cluster' : 'clusters'} with endpoints`,
  );
};

/** All sidecars have the same policies, or those of one service where services have policies of their own. */
export const checkSamePolicies = (seen: readonly SeenPolicies[], everywhere: boolean): CheckResult => {
  const groups = everywhere ? [seen] : [...Map.groupBy(seen, ({ service }) => service).values()];
  if (seen.length < 2) return skipped('policies.same', 'fewer than two sidecars told their version');
  for (const group of groups) {
    const versions = Map.groupBy(group, ({ version }) => version);
    if (versions.size < 2) continue;
    const [most, ...others] = [...versions.values()].sort((a, b) => b.length - a.length);
    // Where instances of one service differ, its name says nothing.
    const isOneService = new Set(group.map(({ service }) => service)).size === 1;
    const words = [most, ...others].map((same = []) => {
      const names = same.map(({ service, admin }) => (isOneService ? `${service} at ${admin}` : service));
      return `${listed([...new Set(names)])} has ${same[0]?.files === 0 ? 'none' : same[0]?.version.slice(0, 12)}`;
    });
    const odd = others[0]?.[0];
    const remedy = `curl -s -X POST http://${odd?.admin}/reload  # if its files are right; services with policies of their own: outrider verify --own-policies`;
    return failed('policies.same', words.join('; '), remedy);
  }
  return ok(
    'policies.same',
    everywhere ? `${seen.length} sidecars, version ${seen[0]?.version.slice(0, 12)}` : 'instances of one service have the same',
  );
};
