/** What the sidecars of one hop did. */
export class HopTally {
  /** Calls of which at least one attempt reached a server. */
  calls = 0;
  /** Attempts that reached a server. */
  attempts = 0;
  /** Ended by an open breaker before anything was sent, or instead of another attempt. */
  circuitOpen = 0;
  /** Above `max_requests`. */
  refused = 0;

  clear(): void {
    this.calls = 0;
    this.attempts = 0;
    this.circuitOpen = 0;
    this.refused = 0;
  }
}
