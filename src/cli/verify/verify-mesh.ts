import { type Clock, formatHostPort } from '../../core/index.ts';
import { ConsulError } from '../../discovery/index.ts';
import { isOfThisMachine, outwardAddresses } from './address.ts';
import { Bounded } from './bounded.ts';
import { checkBypass } from './bypass-check.ts';
import { callInbound, callThroughBoth } from './call-checks.ts';
import { checkClientIdentity } from './certificate-checks.ts';
import { type CheckGroup, type CheckResult, failed, ok, skipped } from './check-result.ts';
import { checkClock } from './clock-checks.ts';
import type { ConsulDirectory, DirectoryAnswer, RegisteredInstance } from './consul-directory.ts';
import { checkInbound, type ForeignIdentity, makeForeignIdentity } from './inbound-checks.ts';
import { checkMetrics, checkPrometheus, checkTrace, newTrace } from './observer-checks.ts';
import type { VerifyPlan } from './plan.ts';
import { checkRegistration } from './registration-checks.ts';
import { checkSamePolicies, checkSidecar, nothingSeen, type SeenPolicies, type SidecarFindings } from './sidecar-checks.ts';
import { adminOption, findTargets, type Target } from './target.ts';

export interface VerifyWorld {
  readonly clock: Clock;
  readonly consul: ConsulDirectory;
}

/** Connections of a probe are few; targets that are looked at beside one another, so many that a fleet is done in seconds. */
const mostTargetsAtATime = 8;

/** What Consul said of a service; `error` where it did not answer. */
interface Asked {
  readonly service: string;
  readonly instances: readonly RegisteredInstance[];
  readonly error: string | undefined;
  /** Consul may know more than it shows to our token. */
  readonly isFiltered: boolean;
}

interface Findings {
  readonly group: CheckGroup;
  readonly policies: SeenPolicies | undefined;
}

/** Goes through a mesh that runs, as an operator would. Never rejects for what it finds there, and ends: every question has its time. */
export const verifyMesh = async (plan: VerifyPlan, world: VerifyWorld): Promise<readonly CheckGroup[]> => {
  const { consul, clock } = world;
  const bounded = new Bounded(mostTargetsAtATime);
  const [agent, foreign] = await Promise.all([checkConsul(plan, world), makeForeignIdentity(clock)]);
  const services = plan.services.length > 0 ? plan.services : agent.answers ? await consul.servicesOfSidecars() : [];
  const asked = await Promise.all(services.map((service) => bounded.run(() => ask(service, consul, agent.answers))));
  const perService = await Promise.all(
    asked.map(async (answer) => {
      const targets = await findTargets(answer.service, answer.instances, plan, clock);
      if (targets.length === 0) return [{ group: unregistered(answer, consul.address), policies: undefined }];
      return await Promise.all(targets.map((target) => bounded.run(() => verifyTarget(target, answer, plan, foreign, world))));
    }),
  );
  const findings: readonly Findings[] = perService.flat();
  const seen = findings.flatMap(({ policies }) => policies ?? []);
  const mesh: CheckGroup = {
    service: undefined,
    instance: undefined,
    address: undefined,
    results: [
      ...agent.results,
      ...(services.length > 0 ? [] : [noServices(agent.answers, consul.address)]),
      ...checkClientIdentity(plan.identity, plan, clock.wallNow()),
      checkSamePolicies(seen, plan.samePoliciesEverywhere),
    ],
  };
  return [mesh, ...findings.map(({ group }) => group)];
};

const checkConsul = async (
  { clockSkewMs, admins, services }: VerifyPlan,
  { consul }: VerifyWorld,
): Promise<{ readonly answers: boolean; readonly results: readonly CheckResult[] }> => {
  let answer: DirectoryAnswer<string>;
  try {
    answer = await consul.leader();
  } catch (error) {
    if (!(error instanceof ConsulError)) throw error;
    // Consul itself refuses: it answers, and asking it for services says what is wrong.
    const everyAdminNamed = services.length > 0 && services.every((service) => admins.has(service));
    const remedy = 'outrider verify --consul <host:port>  # where an agent of this mesh answers, or CONSUL_HTTP_ADDR';
    return { answers: false, results: [everyAdminNamed ? skipped('consul', error.message) : failed('consul', error.message, remedy)] };
  }
  const { value: leader, time } = answer;
  const results = [
    leader === ''
      ? failed('consul', `${consul.address} has no leader: what it says may be old`, `curl -s ${consul.address}/v1/status/peers`)
      : ok('consul', `${consul.address}, led by ${leader}`),
    ...(time === undefined ? [] : [checkClock('clock', `Consul at ${consul.address}`, time, clockSkewMs)]),
  ];
  return { answers: true, results };
};

const noServices = (consulAnswers: boolean, consul: string): CheckResult =>
  consulAnswers
    ? failed(
        'services',
        'no sidecar has registered one',
        `outrider verify --services <names>  # or see: curl -s ${consul}/v1/catalog/services`,
      )
    : skipped('services', 'Consul does not say which there are: name them with --services');

const ask = async (service: string, consul: ConsulDirectory, answers: boolean): Promise<Asked> => {
  if (!answers) return { service, instances: [], error: 'Consul does not answer', isFiltered: false };
  try {
    const { value: instances, isFiltered } = await consul.instances(service);
    return { service, instances, error: undefined, isFiltered };
  } catch (error) {
    if (!(error instanceof ConsulError)) throw error;
    return { service, instances: [], error: error.message, isFiltered: false };
  }
};

const registrationRemedy = (service: string, consul: string): string =>
  `CONSUL_HTTP_ADDR=${consul} SERVICE_NAME=${service} outrider sidecar  # its log says "registered", or why not; names that are there: curl -s ${consul}/v1/catalog/services`;

const missing = ({ service, error, isFiltered }: Asked, consul: string): CheckResult => {
  if (error !== undefined) return skipped('registration', error);
  if (!isFiltered) return failed('registration', 'is not in the catalogue', registrationRemedy(service, consul));
  const remedy =
    'CONSUL_HTTP_TOKEN_FILE=<file> outrider verify  # a token with service_prefix "" { policy = "read" } and node_prefix "" { policy = "read" }';
  return failed('registration', 'Consul shows nothing of it to this token', remedy);
};

const unregistered = (asked: Asked, consul: string): CheckGroup => ({
  service: asked.service,
  instance: undefined,
  address: undefined,
  results: [
    missing(asked, consul),
    skipped('port', `nobody says where it is: name its admin port with --admin ${asked.service}=host:port`),
  ],
});

const verifyTarget = async (
  target: Target,
  asked: Asked,
  plan: VerifyPlan,
  foreign: ForeignIdentity,
  world: VerifyWorld,
): Promise<Findings> => {
  const { service, instance, inbound, admin } = target;
  const { clock, consul } = world;
  const question = { timeoutMs: plan.timeoutMs, clock };
  const where = { adminOption: adminOption(target), consul: consul.address };
  const trace = newTrace();
  const headers = plan.jaeger === undefined ? {} : trace.headers;
  const nowhere = skipped('port', 'nobody says where its inbound listener is');
  const [listener, calls] = await Promise.all([
    inbound === undefined
      ? [nowhere]
      : checkInbound(inbound, { ...question, service, plan, foreign, isHere: isOfThisMachine(inbound.host) }),
    makeCalls(target, plan, { ...question, headers }, where),
  ]);
  const [sidecar, observers] = await Promise.all([lookInside(target, plan), observe(target, plan, calls, trace.id, world)]);
  const isInboundReached = listener.some(({ check, outcome }) => check === 'port' && outcome === 'ok');
  const bypass = await checkBypass({
    ...question,
    service,
    inbound,
    isInboundReached,
    local: sidecar.local,
    outward: outwardAddresses(),
  });
  const registration =
    instance === undefined
      ? [missing(asked, consul.address)]
      : checkRegistration(service, instance, { consul: consul.address, trustDomain: plan.trustDomain, adminOption: adminOption(target) });
  return {
    group: {
      service,
      instance: instance?.id,
      address: inbound === undefined ? admin?.shown : formatHostPort(inbound),
      results: [...registration, ...listener, ...calls, ...sidecar.results, bypass, ...observers],
    },
    policies: sidecar.policies,
  };
};

type CallContext = Parameters<typeof callInbound>[3];

/** One after the other: the second finds the connections of the first, as calls do. */
const makeCalls = async (
  { service, inbound }: Target,
  plan: VerifyPlan,
  options: CallContext,
  where: Parameters<typeof callInbound>[4],
): Promise<readonly CheckResult[]> => {
  // The trace of a direct call would be another tree than the one of the call through both.
  const direct =
    inbound === undefined
      ? skipped('call.inbound', 'nobody says where its inbound listener is')
      : await callInbound(inbound, service, plan, plan.via === undefined ? options : { ...options, headers: {} }, where);
  const both =
    plan.via === undefined
      ? skipped('call.through_both', 'name the outbound listener of a sidecar with --via host:port')
      : await callThroughBoth(plan.via, service, options, where);
  return [direct, both];
};

const lookInside = async ({ admin, adminIsNamed, service, instance }: Target, plan: VerifyPlan): Promise<SidecarFindings> => {
  if (admin === undefined) {
    const why = instance === undefined ? 'nobody says where it is' : 'its registration says nothing of it (meta admin_port)';
    return nothingSeen([skipped('admin', `${why}: name it with --admin ${service}=host:port`)]);
  }
  return await checkSidecar(admin, service, adminIsNamed || isOfThisMachine(admin.address.host), plan);
};

const observe = async (
  { service, admin }: Target,
  plan: VerifyPlan,
  calls: readonly CheckResult[],
  traceId: string,
  { clock }: VerifyWorld,
): Promise<readonly CheckResult[]> => {
  const { prometheus, jaeger, via, timeoutMs, traceTimeoutMs, scrapeTimeoutMs, identity } = plan;
  const question = { timeoutMs, clock };
  const arrived = (check: string): boolean => calls.some((call) => call.check === check && call.outcome === 'ok');
  const traced = via === undefined ? 'call.inbound' : 'call.through_both';
  return await Promise.all([
    admin === undefined
      ? skipped('metrics', 'no admin port')
      : checkMetrics(admin, arrived('call.inbound') || arrived('call.through_both'), identity !== undefined),
    prometheus === undefined
      ? skipped('metrics.scraped', 'name a Prometheus with --prometheus URL')
      : admin === undefined
        ? skipped('metrics.scraped', 'no admin port that could be a target')
        : checkPrometheus(prometheus, admin.address, service, { ...question, patienceMs: scrapeTimeoutMs }),
    jaeger === undefined
      ? skipped('trace', 'name a Jaeger with --jaeger URL')
      : arrived(traced)
        ? checkTrace(jaeger, traceId, service, {
            ...question,
            patienceMs: traceTimeoutMs,
            throughBoth: via !== undefined,
          })
        : skipped('trace', 'no call arrived that could be found'),
  ]);
};
