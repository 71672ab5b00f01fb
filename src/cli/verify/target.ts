import type { Clock } from '../../core/index.ts';
import { type Address, isOfThisMachine, parseAddress } from './address.ts';
import { AdminPort, type ServerInfo } from './admin-port.ts';
import type { RegisteredInstance } from './consul-directory.ts';
import { UnansweredError } from './network-failure.ts';
import type { VerifyPlan } from './plan.ts';

/** One instance of a service, with what is known about how to reach it. */
export interface Target {
  readonly service: string;
  /** `undefined`: nothing is registered, and it is known by its admin port alone. */
  readonly instance: RegisteredInstance | undefined;
  readonly inbound: Address | undefined;
  readonly admin: AdminPort | undefined;
  /** Somebody has named the admin port by hand: then it has to answer. */
  readonly adminIsNamed: boolean;
}

/** For commands that talk to an admin port. */
export const adminOption = ({ admin }: Target): string => ` --admin ${admin?.shown ?? '<host:port>'}`;

/** An admin port that was named by hand, with what it said; nothing where it did not answer. */
interface NamedAdmin {
  readonly admin: AdminPort;
  readonly info: ServerInfo | undefined;
}

const unlessUnanswered = async <T>(question: Promise<T>): Promise<T | undefined> => {
  try {
    return await question;
  } catch (error) {
    if (error instanceof UnansweredError) return undefined;
    throw error;
  }
};

/** On its own machine the loopback comes first: that is where an admin port listens unless somebody wants it elsewhere. */
const candidates = ({ address, meta }: RegisteredInstance): readonly Address[] => {
  const port = parseAddress(`localhost:${meta['admin_port']}`)?.port;
  if (port === undefined) return [];
  const there = { host: address.host, port };
  return isOfThisMachine(address.host) && address.host !== '127.0.0.1' ? [{ host: '127.0.0.1', port }, there] : [there];
};

const firstThatAnswers = async (admins: readonly AdminPort[]): Promise<AdminPort | undefined> => {
  for (const admin of admins) if ((await unlessUnanswered(admin.serverInfo())) !== undefined) return admin;
  return admins[0];
};

/**
 * What there is to look at of a service: its instances in the catalogue, each with its admin port, and admin ports that were named by hand and
 * belong to none of them. A sidecar says under which id it is registered.
 */
export const findTargets = async (
  service: string,
  instances: readonly RegisteredInstance[],
  { admins, timeoutMs }: Pick<VerifyPlan, 'admins' | 'timeoutMs'>,
  clock: Clock,
): Promise<readonly Target[]> => {
  const adminAt = (address: Address): AdminPort => new AdminPort(address, service, { timeoutMs, clock });
  const named: readonly NamedAdmin[] = await Promise.all(
    (admins.get(service) ?? []).map(async (address) => {
      const admin = adminAt(address);
      return { admin, info: await unlessUnanswered(admin.serverInfo()) };
    }),
  );
  const left = new Set(named);
  const targets: Target[] = [];
  for (const instance of instances) {
    const own =
      named.find(({ info }) => info?.registration?.id === instance.id) ??
      // The only one there is needs not say whose it is.
      (instances.length === 1 && named.length === 1 ? named[0] : undefined);
    if (own !== undefined) left.delete(own);
    const admin = own?.admin ?? (await firstThatAnswers(candidates(instance).map(adminAt)));
    const inbound = instance.address.port === 0 ? undefined : instance.address;
    targets.push({ service, instance, inbound, admin, adminIsNamed: own !== undefined });
  }
  for (const { admin } of left) {
    const port = (await unlessUnanswered(admin.listenerPort('inbound'))) ?? 0;
    const inbound = port === 0 ? undefined : { host: admin.address.host, port };
    targets.push({ service, instance: undefined, inbound, admin, adminIsNamed: true });
  }
  return targets;
};
