import { FieldFlag, type HeaderBlock, Token } from '../http2/index.ts';
import type { HashPolicy, Route } from '../policy/index.ts';
import { Hash64, type PickWish } from '../resilience/index.ts';

/** What of a call decides where it sticks. */
export interface StickyCall {
  readonly request: HeaderBlock;
  readonly peer: { readonly remoteIp: string };
  /** Value of `set-cookie` in the answer; `undefined`: none. */
  setCookie: string | undefined;
}

/**
 * The hash of a call by the `hash_policy` of its route, as Envoy computes it: each policy that finds something is mixed in, up to the first
 * terminal one.
 */
export class Stickiness {
  readonly #hash = new Hash64();
  readonly #random: () => number;
  #high = 0;
  #low = 0;
  #found = false;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** @param subset what the route asks for. */
  wishOf(call: StickyCall, { hashPolicies }: Route, subset: string | undefined): PickWish {
    this.#high = 0;
    this.#low = 0;
    this.#found = false;
    for (const policy of hashPolicies) {
      this.#mix(call, policy);
      if (policy.terminal && this.#found) break;
    }
    return { hash: this.#found ? { high: this.#high, low: this.#low } : undefined, subset };
  }

  #mix(call: StickyCall, policy: HashPolicy): void {
    switch (policy.kind) {
      case 'header':
        this.#mixHeader(call.request, policy.name);
        return;
      case 'cookie': {
        const value = cookieValue(call.request, policy.name);
        if (value !== undefined) this.#mixText(value);
        else if (policy.making !== undefined) {
          const made = this.#newCookieValue();
          call.setCookie = `${policy.name}="${made}"; ${policy.making}`;
          this.#mixText(made);
        }
        return;
      }
      case 'source_ip':
        this.#mixText(call.peer.remoteIp);
    }
  }

  #mixHeader(block: HeaderBlock, name: string): void {
    const at = block.find(name);
    if (at < 0) return;
    const token = block.tokens[at] as number;
    if (token !== Token.unknown ? block.duplicateOf(token) : countOf(block, name) > 1) {
      this.#mixSeveral(block, name);
      return;
    }
    const { high, low } = this.#hash.xx(block.bytes, block.valueStart[at] as number, block.valueEnd[at] as number);
    this.#mixHash(high, low);
  }

  /** Sorted, so that their order does not matter. */
  #mixSeveral(block: HeaderBlock, name: string): void {
    const values = block
      .toPairs()
      .filter(([field]) => field === name)
      .map(([, value]) => value)
      .sort();
    let high = 0;
    let low = 0;
    for (const value of values) {
      const bytes = Buffer.from(value, 'latin1');
      const hash = this.#hash.xx(bytes, 0, bytes.length, low, high);
      high = hash.high;
      low = hash.low;
    }
    this.#mixHash(high, low);
  }

  #mixText(text: string): void {
    const bytes = Buffer.from(text, 'latin1');
    const { high, low } = this.#hash.xx(bytes, 0, bytes.length);
    this.#mixHash(high, low);
  }

  /** What was found before is turned by one bit, so that two equal values do not cancel each other out. */
  #mixHash(high: number, low: number): void {
    const turnedHigh = (this.#high << 1) | (this.#low >>> 31);
    const turnedLow = (this.#low << 1) | (this.#high >>> 31);
    this.#high = (turnedHigh ^ high) >>> 0;
    this.#low = (turnedLow ^ low) >>> 0;
    this.#found = true;
  }

  #newCookieValue(): string {
    const half = (): string =>
      Math.floor(this.#random() * 0x1_0000_0000)
        .toString(16)
        .padStart(8, '0');
    return half() + half();
  }
}

const countOf = (block: HeaderBlock, name: string): number => {
  let count = 0;
  for (let i = 0; i < block.count; i++) if (((block.flags[i] as number) & FieldFlag.dropped) === 0 && block.name(i) === name) count++;
  return count;
};

/** The first one of that name (RFC 6265 4.2); HTTP/2 may cut a cookie header into several fields (RFC 9113 8.2.3). */
const cookieValue = (block: HeaderBlock, name: string): string | undefined => {
  const first = block.indexOf(Token.cookie);
  if (first < 0) return undefined;
  for (let i = first; i < block.count; i++) {
    if (block.tokens[i] !== Token.cookie || ((block.flags[i] as number) & FieldFlag.dropped) !== 0) continue;
    for (const pair of block.value(i).split(';')) {
      const equals = pair.indexOf('=');
      if (equals < 0 || pair.slice(0, equals).trim() !== name) continue;
      const value = pair.slice(equals + 1).trim();
      const plain = value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
      if (plain !== '') return plain;
    }
  }
  return undefined;
};
