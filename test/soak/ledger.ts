/** How one call, or one change to the mesh, ended. */
export interface Outcome {
  /** It is what had to come of it, by how it was made. */
  readonly expected: boolean;
  /** `OK`, or status and reason. */
  readonly what: string;
  /** The sidecar has certainly seen it. A call that its own client ended may have died before it was sent. */
  readonly reached: boolean;
}

export interface KindCounts {
  begun: number;
  ended: number;
  unexpected: number;
  readonly outcomes: Map<string, number>;
}

const keptExamples = 20;
/** What a sidecar refuses when it is short of CPU: right or wrong by what else the machine does, which the ledger does not know. */
const shedding = 'RESOURCE_EXHAUSTED overloaded';

/** Every call that was begun, by kind, and what came of it. */
export class Ledger {
  readonly kinds = new Map<string, KindCounts>();
  /** The first of what should not have happened, in words. */
  readonly examples: string[] = [];
  /** Calls that the sidecar has certainly seen, and those that it may have. */
  reached = 0;
  unsure = 0;
  /** Calls that were refused for want of CPU; not among the unexpected. */
  shed = 0;

  /** A call of this kind begins; the returned function takes its end, once. */
  begin(kind: string): (outcome: Outcome) => void {
    const counts = this.#of(kind);
    counts.begun++;
    return (outcome) => {
      if (outcome.reached) this.reached++;
      else this.unsure++;
      this.#end(kind, counts, outcome);
    };
  }

  /** Something that is no call of the sidecar's caller: a reload, a rotation, a connection that says nothing. */
  note(kind: string, expected: boolean, what: string): void {
    const counts = this.#of(kind);
    counts.begun++;
    this.#end(kind, counts, { expected, what, reached: false });
  }

  get begun(): number {
    return this.#sum('begun');
  }

  get inFlight(): number {
    return this.#sum('begun') - this.#sum('ended');
  }

  get unexpected(): number {
    return this.#sum('unexpected');
  }

  #of(kind: string): KindCounts {
    let counts = this.kinds.get(kind);
    if (counts === undefined) {
      counts = { begun: 0, ended: 0, unexpected: 0, outcomes: new Map() };
      this.kinds.set(kind, counts);
    }
    return counts;
  }

  #end(kind: string, counts: KindCounts, { expected, what }: Outcome): void {
    counts.ended++;
    const short = what.split(':')[0] ?? what;
    counts.outcomes.set(short, (counts.outcomes.get(short) ?? 0) + 1);
    if (expected) return;
    if (short === shedding) {
      this.shed++;
      return;
    }
    counts.unexpected++;
    if (this.examples.length < keptExamples) this.examples.push(`${new Date().toISOString().slice(11, 23)} ${kind}: ${what}`);
  }

  #sum(field: 'begun' | 'ended' | 'unexpected'): number {
    let sum = 0;
    for (const counts of this.kinds.values()) sum += counts[field];
    return sum;
  }
}
