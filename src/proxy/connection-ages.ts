import { type Connection, ConnectionAge, type Engine } from '../http2/index.ts';
import type { ConnectionAgePolicy } from '../policy/index.ts';

export interface ConnectionAgesOptions {
  readonly engine: Engine;
  /** From 0 to 1. */
  readonly random: () => number;
  /** A connection was told to go for its age. */
  readonly onAged: () => void;
  /** Calls go on after the grace. */
  readonly endCalls: (connection: Connection) => void;
}

/**
 * Sends clients of a listener away that have been connected for long, as gRPC's MAX_CONNECTION_AGE does: GOAWAY in two steps, so that no
 * call is lost; what goes on ends with the grace, where there is one. Costs nothing where connections may become any age.
 */
export class ConnectionAges {
  #policy: ConnectionAgePolicy;
  readonly #options: ConnectionAgesOptions;
  readonly #watched = new Map<Connection, ConnectionAge>();

  constructor(policy: ConnectionAgePolicy, options: ConnectionAgesOptions) {
    this.#policy = policy;
    this.#options = options;
  }

  add(connection: Connection): void {
    const { ageMs } = this.#policy;
    if (ageMs === 0) return;
    let drained = false;
    const age = new ConnectionAge(this.#options.engine, this.#options.random(), () => {
      if (drained) this.#options.endCalls(connection);
      else if (!connection.goingAway) {
        drained = true;
        this.#options.onAged();
        connection.drain('max_age');
        if (Number.isFinite(this.#policy.graceMs)) age.remind(this.#policy.graceMs);
      }
    });
    this.#watched.set(connection, age);
    age.limit(ageMs);
  }

  remove(connection: Connection): void {
    const age = this.#watched.get(connection);
    if (age === undefined) return;
    age.stop();
    this.#watched.delete(connection);
  }

  /** Another age, also for connections that live. */
  change(policy: ConnectionAgePolicy, connections: Iterable<Connection>): void {
    const former = this.#policy;
    this.#policy = policy;
    if (former.ageMs === policy.ageMs) return;
    for (const connection of connections) {
      if (connection.goingAway) continue;
      const age = this.#watched.get(connection);
      if (age === undefined) this.add(connection);
      else age.limit(policy.ageMs);
    }
  }
}
