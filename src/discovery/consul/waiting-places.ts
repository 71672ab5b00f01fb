/**
 * Connections on which questions wait at the agent, of which it allows so many from one address (`limits.http_max_conns_per_client`, 200).
 * With more questions than places they take turns: those that wait for a place are served in order, and as long as there are any a
 * question waits at the agent for a short time only.
 */
export class WaitingPlaces {
  /** Whether questions have ever had to take turns. */
  shared = false;
  readonly limit: number;
  readonly #queue: (() => void)[] = [];
  /** Those that wait at the agent for long, in the order in which they began, each with what calls it back. */
  readonly #patient = new Set<() => void>();
  #taken = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Whether the next question is to wait for a short time only. */
  get crowded(): boolean {
    return this.#queue.length > 0;
  }

  get taken(): number {
    return this.#taken;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /** Calls `proceed` as soon as there is a place, which it then owns until `leave`. Returns what gives the wait up. */
  enter(proceed: () => void): () => void {
    if (this.#taken < this.limit && this.#queue.length === 0) {
      this.#taken++;
      proceed();
      return () => {};
    }
    this.shared = true;
    this.#queue.push(proceed);
    // Whoever has asked for minutes, when nobody else wanted the place, gives it up now: it goes on in turn.
    const [first] = this.#patient;
    if (first !== undefined) {
      this.#patient.delete(first);
      first();
    }
    return () => {
      const at = this.#queue.indexOf(proceed);
      if (at >= 0) this.#queue.splice(at, 1);
    };
  }

  /** The owner of a place waits for long; `recall` asks it to come back. Returns what says that it has. */
  patient(recall: () => void): () => void {
    this.#patient.add(recall);
    return () => void this.#patient.delete(recall);
  }

  leave(): void {
    const next = this.#queue.shift();
    if (next === undefined) this.#taken--;
    else next();
  }
}
