import type { AccessPolicy } from '../policy/index.ts';
import type { Downstream } from './tls-acceptor.ts';

/** Who may call the local service, decided once for each connection: its certificate stays the same. */
export class PeerAccess {
  readonly #policy: AccessPolicy;
  readonly #trustDomain: string;
  readonly #verdicts = new WeakMap<Downstream, string | true>();

  constructor(policy: AccessPolicy, trustDomain: string) {
    this.#policy = policy;
    this.#trustDomain = trustDomain;
  }

  /** Why its calls are refused; `undefined` where they are not. */
  refusal(downstream: Downstream): string | undefined {
    let verdict = this.#verdicts.get(downstream);
    if (verdict === undefined) {
      verdict = this.#decide(downstream);
      this.#verdicts.set(downstream, verdict);
    }
    return verdict === true ? undefined : verdict;
  }

  #decide({ peer }: Downstream): string | true {
    const id = peer?.spiffeId;
    const own = `spiffe://${this.#trustDomain}/service/`;
    // A SPIFFE id is who it is: DNS names of the same certificate say only what it may serve, unless there is no id.
    const names = id === undefined ? (peer?.dnsSans ?? []) : [id, ...(id.startsWith(own) ? [id.slice(own.length)] : [])];
    const rule = this.#policy.rules.find(({ from }) => from === '*' || names.includes(from));
    const action = rule?.action ?? this.#policy.defaultAction;
    if (action === 'allow') return true;
    const caller = id ?? peer?.dnsSans[0] ?? 'a caller without a certificate';
    const why = rule === undefined ? 'no rule of inbound.access names it' : `the rule for ${rule.from} in inbound.access denies it`;
    return `${caller} may not call this service: ${why}; add a rule that allows it`;
  }
}
