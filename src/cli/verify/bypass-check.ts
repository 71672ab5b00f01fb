import { type Clock, formatHostPort } from '../../core/index.ts';
import { statusName } from '../../grpc/index.ts';
import { type Address, isLoopback, isOfThisMachine } from './address.ts';
import { type CheckResult, failed, ok, skipped, warning } from './check-result.ts';
import { callHealth, type HealthCallOutcome } from './health-call.ts';
import type { LocalService } from './sidecar-checks.ts';

export interface BypassQuestion {
  readonly service: string;
  /** Of the sidecar, as peers find it. */
  readonly inbound: Address | undefined;
  /** Somebody has answered there, so that silence beside it is no matter of the network. */
  readonly isInboundReached: boolean;
  /** Where the sidecar finds its service; `undefined`: nobody says. */
  readonly local: LocalService | undefined;
  /** Where others may reach this machine. */
  readonly outward: readonly string[];
  readonly timeoutMs: number;
  readonly clock: Clock;
}

const name = 'local_service.bypass';

/** By these a process finds itself wherever it runs; 127.0.0.2 and its like are given to somebody on purpose. */
const ownLoopback = new Set(['localhost', '127.0.0.1', '::1']);

/** A call in plain text to the service itself, as somebody would make it who does not want to go through its sidecar: it must fail. */
export const checkBypass = async (question: BypassQuestion): Promise<CheckResult> => {
  const { service, inbound, isInboundReached, local, timeoutMs, clock } = question;
  if (local === undefined) return skipped(name, 'nobody says where the service listens: the admin port of its sidecar would');
  const options = { timeoutMs, clock, authority: service };
  const ways = await waysAround(question, local, async (address) => isThere(await callHealth(address, options)));
  if (typeof ways === 'string') return skipped(name, ways);
  const tried = await Promise.all(ways.map(async (address) => ({ address, outcome: await callHealth(address, options) })));
  const remedy = remedyFor(local.address);
  for (const { address, outcome } of tried) {
    // With a reason of ours it is a sidecar that has this port there.
    if (outcome.kind !== 'answered' || outcome.reason !== undefined) continue;
    const said = outcome.serving ?? statusName(outcome.status);
    const detail = `${formatHostPort(address)} answers ${said} in plain text: whoever reaches it needs no certificate, and no policy holds`;
    return failed(name, detail, remedy);
  }
  for (const { address, outcome } of tried) {
    if (outcome.kind !== 'not_grpc') continue;
    return warning(name, `something listens at ${formatHostPort(address)}, though not as a gRPC service does: ${outcome.why}`, remedy);
  }
  const shown = ways.map(formatHostPort).join(', ');
  if (local.isUnhealthy) return skipped(name, `nobody answers at ${shown}, but the service does not answer its sidecar either`);
  for (const { address, outcome } of tried) {
    if (outcome.kind !== 'unreachable' || outcome.failure.kind !== 'out_of_reach') continue;
    // Silence beside a sidecar that answers is a firewall, which does what it is there for.
    if (isInboundReached && address.host === inbound?.host) continue;
    return skipped(name, `${formatHostPort(address)} is out of reach from here (${outcome.failure.why}): ask from a machine of the mesh`);
  }
  return ok(name, `nobody answers at ${shown}: the way to it is its sidecar`);
};

const isThere = ({ kind }: HealthCallOutcome): boolean => kind !== 'unreachable';

/** Where the service would be met without its sidecar, or why that cannot be told from here. */
const waysAround = async (
  { inbound, outward }: BypassQuestion,
  { address: { host, port } }: LocalService,
  answers: (address: Address) => Promise<boolean>,
): Promise<readonly Address[] | string> => {
  const isHere = inbound === undefined || isOfThisMachine(inbound.host);
  if (!isLoopback(host)) {
    // The way of the sidecar itself, which is open in any case.
    if (isHere) return `its sidecar asks ${formatHostPort({ host, port })} from this machine, too: ask from another one of the mesh`;
    return [{ host, port }];
  }
  const registered = inbound === undefined || ownLoopback.has(inbound.host) || inbound.host === host ? [] : [inbound.host];
  if (registered.length > 0 && !isHere) return [{ host: inbound?.host ?? '', port }];
  // Known by a loopback alone, which may be that of another network namespace, behind a published port.
  if (registered.length === 0 && !(await answers({ host, port })))
    return `it is known by its loopback alone, and ${formatHostPort({ host, port })} is not there: ask on its machine, or from another one of the mesh`;
  const hosts = [...new Set([...registered, ...outward])].filter((one) => one !== host);
  return hosts.length === 0 ? 'this machine has no address beside its loopback' : hosts.map((one) => ({ host: one, port }));
};

const remedyFor = ({ host, port }: Address): string =>
  isLoopback(host)
    ? `ss -ltn 'sport = :${port}'  # on its machine; let the service listen on 127.0.0.1:${port} alone, in containers in the network namespace of its sidecar`
    : `nc -vz ${host} ${port}  # must fail: let the service share the network namespace of its sidecar and listen on 127.0.0.1, or a firewall admit the sidecar alone`;
