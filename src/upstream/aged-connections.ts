import type { UpstreamConnection } from './upstream-connection.ts';

/** After what part of its age a connection that could not be replaced is to be replaced again, and the shortest and longest wait. */
const againShare = 0.1;
const shortestAgainMs = 1_000;
const longestAgainMs = 60_000;

/** Connections of one endpoint that are too old, and wait for a new one to be ready. */
export class AgedConnections {
  readonly #waiting: UpstreamConnection[] = [];

  get size(): number {
    return this.#waiting.length;
  }

  /** The one that has waited longest. */
  get oldest(): UpstreamConnection | undefined {
    return this.#waiting[0];
  }

  add(connection: UpstreamConnection): void {
    this.#waiting.push(connection);
  }

  /** It takes no calls any more, or has gone by itself. */
  remove(connection: UpstreamConnection): void {
    const at = this.#waiting.indexOf(connection);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  clear(): void {
    this.#waiting.length = 0;
  }

  /** None could be made in their place: they stay, and ask again later. */
  postpone(maxConnectionAgeMs: number, random: () => number): void {
    for (const connection of this.#waiting.splice(0)) {
      const afterMs = Math.min(Math.max(maxConnectionAgeMs * againShare, shortestAgainMs), longestAgainMs);
      connection.remindOfAge(afterMs * (0.5 + random()));
    }
  }
}
