export interface BalancerEndpoint {
  /** Share of the calls in relation to the others. 0 or less counts as a thousandth: picked hardly ever, but reachable. */
  readonly weight: number;
  /** Calls that are with this endpoint now. Kept by its owner. */
  activeRequests: number;
}

/** Says which endpoint gets the next attempt. */
export interface Balancer<E extends BalancerEndpoint> {
  /** The endpoints from now on. Those that stay keep their turn, so that a change of one does not send a burst to another. */
  update(endpoints: readonly E[]): void;
  /**
   * The next endpoint of those that `usable` accepts (all, where it is `undefined`), or `undefined` where it accepts none. Finds one
   * wherever there is one; where few are usable this costs one pass over all of them.
   */
  pick(usable: ((endpoint: E) => boolean) | undefined): E | undefined;
}
