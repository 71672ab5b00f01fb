import { isDeepStrictEqual } from 'node:util';
import type { HeaderBlock } from '../../http2/index.ts';
import type { RateLimitAction, RateLimitPolicy } from '../../policy/index.ts';
import { type DescriptorEntry, LocalRateLimit } from '../../resilience/index.ts';
import type { StatSink } from '../../telemetry/index.ts';
import { type LocalReply, localReply } from '../replies.ts';
import type { Downstream } from '../tls-acceptor.ts';
import { FieldName } from './field-name.ts';

interface LimitedCall {
  readonly request: HeaderBlock;
  readonly peer: Downstream;
  readonly rule: string;
}

/** The rate limit of one route; it outlives reloads. */
export class RouteRateLimit {
  #policy: RateLimitPolicy;
  /** Filled in for each call, where it has all that the rules ask for. */
  #descriptors: readonly (readonly WrittenEntry[])[];
  /** The machine was asked for just these last. */
  #askedForThem = false;
  readonly #machine: LocalRateLimit;
  readonly #random: () => number;
  #enabled = 0;
  #ok = 0;
  #rateLimited = 0;
  #enforced = 0;

  constructor(policy: RateLimitPolicy, random: () => number, nowMs: number) {
    this.#policy = policy;
    this.#descriptors = descriptorsFor(policy);
    this.#machine = new LocalRateLimit(policy.limit, nowMs);
    this.#random = random;
  }

  update(policy: RateLimitPolicy, nowMs: number): void {
    const former = this.#policy;
    if (policy === former) return;
    this.#policy = policy;
    this.#descriptors = descriptorsFor(policy);
    this.#askedForThem = false;
    this.#machine.update(policy.limit, !isDeepStrictEqual(former.limit.descriptors, policy.limit.descriptors), nowMs);
  }

  /** The answer to a call for which there is no token; else it has taken one of each of its buckets. */
  refusal(call: LimitedCall, clusterName: string, nowMs: number): LocalReply | undefined {
    const { enabledShare, enforcedShare, rules } = this.#policy;
    if (enabledShare < 1 && this.#random() >= enabledShare) return undefined;
    this.#enabled++;
    const filled = fillIn(this.#descriptors, rules, call, clusterName);
    const waitMs =
      filled === 'same' && this.#askedForThem
        ? this.#machine.waitMsAgain(nowMs)
        : this.#machine.waitMs(filled === 'incomplete' ? descriptorsOf(rules, call, clusterName) : this.#descriptors, nowMs);
    this.#askedForThem = filled !== 'incomplete';
    if (waitMs === 0) {
      this.#ok++;
      return undefined;
    }
    this.#rateLimited++;
    if (enforcedShare < 1 && this.#random() >= enforcedShare) return undefined;
    this.#enforced++;
    // Whoever obeys comes back when there is a token, and not all of them at once.
    const pushbackMs = Math.ceil(waitMs + this.#random() * this.#machine.commonTokens.fillIntervalMs);
    const message = `more calls than local_rate_limit of ${call.rule} allows; call less often, call again in ${Math.ceil(waitMs)} ms, or raise its token_bucket`;
    return { ...localReply('rate_limited', message), pushbackMs };
  }

  collectStats(sink: StatSink): void {
    const prefix = `${this.#policy.statPrefix}.http_local_rate_limit`;
    sink.counter(`${prefix}.enabled`, this.#enabled);
    sink.counter(`${prefix}.ok`, this.#ok);
    sink.counter(`${prefix}.rate_limited`, this.#rateLimited);
    sink.counter(`${prefix}.enforced`, this.#enforced);
    sink.gauge(`${prefix}.dynamic_descriptors`, this.#machine.dynamicDescriptors);
  }
}

interface WrittenEntry {
  readonly key: string;
  /** Of a header. */
  readonly name: FieldName | undefined;
  value: string;
}

const descriptorsFor = ({ rules }: RateLimitPolicy): readonly (readonly WrittenEntry[])[] =>
  rules.map((rule) =>
    rule.map((action) => ({
      key: action.key,
      name: action.kind === 'request_header' ? new FieldName(action.name) : undefined,
      value: '',
    })),
  );

/**
 * Whether all values are the `same` as those of the call before, or `other` ones; `incomplete` where the call lacks something: its
 * descriptors are fewer, or shorter.
 */
const fillIn = (
  descriptors: readonly (readonly WrittenEntry[])[],
  rules: readonly (readonly RateLimitAction[])[],
  call: LimitedCall,
  clusterName: string,
): 'same' | 'other' | 'incomplete' => {
  let same = true;
  for (let i = 0; i < rules.length; i++) {
    const rule = rules[i] as readonly RateLimitAction[];
    if (rule.length === 0) return 'incomplete';
    for (let j = 0; j < rule.length; j++) {
      const action = rule[j] as RateLimitAction;
      const entry = descriptors[i]?.[j] as WrittenEntry;
      // Mostly the value is the one of the call before: no string is made to find that out.
      if (entry.name !== undefined && entry.value !== '') {
        const at = entry.name.indexIn(call.request);
        if (at >= 0 && call.request.valueEquals(at, entry.value)) continue;
      }
      const value = entryValue(action, call, clusterName);
      if (value === undefined) return 'incomplete';
      if (value === entry.value) continue;
      entry.value = value;
      same = false;
    }
  }
  return same ? 'same' : 'other';
};

const descriptorsOf = (
  rules: readonly (readonly RateLimitAction[])[],
  call: LimitedCall,
  clusterName: string,
): readonly (readonly DescriptorEntry[])[] => {
  const descriptors: DescriptorEntry[][] = [];
  for (const rule of rules) {
    const entries: DescriptorEntry[] = [];
    let complete = true;
    for (const action of rule) {
      const value = entryValue(action, call, clusterName);
      if (value !== undefined) entries.push({ key: action.key, value });
      else if (action.kind !== 'request_header' || !action.optional) complete = false;
    }
    if (complete && entries.length > 0) descriptors.push(entries);
  }
  return descriptors;
};

/** `undefined`: the call does not have it. */
const entryValue = (action: RateLimitAction, { request, peer }: LimitedCall, clusterName: string): string | undefined => {
  switch (action.kind) {
    case 'text':
      return action.value;
    case 'request_header': {
      const at = request.find(action.name);
      return at < 0 ? undefined : request.value(at);
    }
    case 'remote_address':
      return peer.remoteIp;
    case 'destination_cluster':
      return clusterName;
    case 'caller_identity':
      return peer.peer?.spiffeId ?? peer.peer?.dnsSans[0];
  }
};
