import { compareAddresses, type EndpointAddress, normalizeEndpoints } from '../discovery/index.ts';
import type { Endpoint } from './endpoint.ts';
import { isChosenOtherwise } from './endpoint-changes.ts';

/** What the members need of their cluster. */
export interface MembersOwner {
  /** Balancers look at metadata. */
  readonly choosesBySubset: boolean;
  /** A new endpoint, of which nobody knows yet. */
  createEndpoint(address: EndpointAddress): Endpoint;
  /** `list` has changed; those that were removed still have to drain. */
  onMembers(joined: readonly Endpoint[], removed: readonly Endpoint[]): void;
  /** The members are those that they were, and balancers would choose otherwise among them. */
  onWeights(): void;
}

/** So many are made in a millisecond or two. */
export const endpointsAtOnce = 250;
/** Looking at one that is there is quicker than making one. */
const lookedAtOnce = 10 * endpointsAtOnce;

/** What has to happen for `former` to become what `addresses` say; both are sorted by host and port. */
class MemberChange {
  readonly addresses: readonly EndpointAddress[];
  readonly next: Endpoint[] = [];
  readonly joined: Endpoint[] = [];
  readonly removed: Endpoint[] = [];
  /** Members that are described otherwise. */
  readonly described: (readonly [Endpoint, EndpointAddress])[] = [];
  readonly #former: readonly Endpoint[];
  readonly #create: (address: EndpointAddress) => Endpoint;
  #at = 0;
  #atFormer = 0;

  constructor(former: readonly Endpoint[], addresses: readonly EndpointAddress[], create: (address: EndpointAddress) => Endpoint) {
    this.#former = former;
    this.addresses = addresses;
    this.#create = create;
  }

  /** Goes on for as long as one turn may take, or to the end; false as soon as that is reached. */
  advance(inTurns: boolean): boolean {
    const former = this.#former;
    const mostJoined = inTurns ? this.joined.length + endpointsAtOnce : Number.POSITIVE_INFINITY;
    const last = inTurns ? Math.min(this.#at + lookedAtOnce, this.addresses.length) : this.addresses.length;
    for (; this.#at < last; this.#at++) {
      if (this.joined.length >= mostJoined) return true;
      const address = this.addresses[this.#at] as EndpointAddress;
      let order = 1;
      for (; this.#atFormer < former.length; this.#atFormer++) {
        const other = former[this.#atFormer] as Endpoint;
        // Nearly all are described as before, by the very same object.
        order = other.address === address ? 0 : compareAddresses(other.address, address);
        if (order >= 0) break;
        this.removed.push(other);
      }
      if (order === 0) {
        const known = former[this.#atFormer++] as Endpoint;
        this.next.push(known);
        if (known.address !== address) this.described.push([known, address]);
      } else {
        const created = this.#create(address);
        this.next.push(created);
        this.joined.push(created);
      }
    }
    if (last < this.addresses.length) return true;
    while (this.#atFormer < former.length) this.removed.push(former[this.#atFormer++] as Endpoint);
    return false;
  }
}

/**
 * The endpoints of one cluster, made of what its source says. Who stays is the same object, with its connections and counts. Thousands of
 * new ones are made in turns of the event loop, between which calls see the members of before; all become members in one turn.
 */
export class ClusterMembers {
  /** Sorted by host and port. */
  list: readonly Endpoint[] = [];
  readonly #owner: MembersOwner;
  /** What `list` was made of. */
  #addresses: readonly EndpointAddress[] = [];
  /** What is being made; `undefined`: nothing. */
  #change: MemberChange | undefined;

  constructor(owner: MembersOwner) {
    this.#owner = owner;
  }

  /**
   * These are the members from here on: at once, or, where many of them are new and `mayTakeTurns` says that calls are under way, in a few
   * turns. Where there was none, the first of them take calls at once.
   * @param listed sorted by host and port, none twice, as sources list them; others are sorted.
   */
  set(listed: readonly EndpointAddress[], mayTakeTurns = false): void {
    const addresses = normalizeEndpoints(listed);
    const making = this.#change;
    if (addresses === (making?.addresses ?? this.#addresses)) return;
    const create = this.#creator(making);
    const isFirst = mayTakeTurns && this.list.length === 0 && addresses.length > endpointsAtOnce;
    if (isFirst) {
      const first = new MemberChange(this.list, addresses.slice(0, endpointsAtOnce), create);
      first.advance(false);
      this.#commit(first);
    }
    const change = new MemberChange(this.list, addresses, create);
    if (!isFirst && !change.advance(mayTakeTurns)) {
      this.#change = undefined;
      this.#commit(change);
      return;
    }
    this.#change = change;
    if (making === undefined) this.#goOn();
  }

  /** Nothing is made any more, and there is none. */
  clear(): void {
    this.#change = undefined;
    this.list = [];
  }

  #goOn(): void {
    setImmediate(() => {
      const change = this.#change;
      if (change === undefined) return;
      if (change.advance(true)) {
        this.#goOn();
        return;
      }
      // To take thousands over is enough for a turn of its own.
      setImmediate(() => {
        if (this.#change === change) {
          this.#change = undefined;
          this.#commit(change);
        } else if (this.#change !== undefined) this.#goOn();
      });
    });
  }

  /** Those that were made for a change that another one has overtaken are taken where they are wanted still. */
  #creator(overtaken: MemberChange | undefined): (address: EndpointAddress) => Endpoint {
    if (overtaken === undefined) return (address) => this.#owner.createEndpoint(address);
    const made = new Map(overtaken.joined.map((endpoint) => [endpoint.address, endpoint]));
    return (address) => made.get(address) ?? this.#owner.createEndpoint(address);
  }

  #commit({ addresses, described, joined, next, removed }: MemberChange): void {
    this.#addresses = addresses;
    let chosenOtherwise = false;
    for (const [endpoint, address] of described) {
      chosenOtherwise ||= isChosenOtherwise(endpoint.address, address, this.#owner.choosesBySubset);
      endpoint.update(address);
    }
    if (joined.length > 0 || removed.length > 0) {
      this.list = next;
      this.#owner.onMembers(joined, removed);
    } else if (chosenOtherwise) this.#owner.onWeights();
  }
}
