import type { Clock, Fate } from '../../core/index.ts';
import type { CallObserver, EndedCall } from '../../telemetry/index.ts';
import type { FailedCallRow } from './model.ts';

/** A call that did not end well, as `/failures` shows it. Path, authority and message come from the network. */
export type FailedCall = FailedCallRow<Fate>;

const keptAtMost = 100;
const longestText = 300;
const longestMessage = 600;
/** Calls of one fate that are written down in a second: more of the same say nothing new, and cost strings. */
const perFateAndSecond = 5;

const cut = (text: string, longest: number): string => (text.length <= longest ? text : `${text.slice(0, longest - 1)}…`);
const given = (name: string, value: string | undefined, longest = longestText) =>
  value === undefined || value === '' ? {} : { [name]: cut(value, longest) };

/**
 * The last calls that failed: what the application, a peer or we have refused or broken, but not what callers cancelled. Where a hundred
 * are kept, the most frequent fate gives way: a flood of one kind does not hide the one call of another.
 */
export class RecentFailures implements CallObserver {
  readonly #clock: Clock;
  readonly #kept: FailedCall[] = [];
  readonly #inThisSecond = new Map<Fate, number>();
  #secondEndsMs = Number.NEGATIVE_INFINITY;
  #id = 0;
  #total = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Newest first. */
  get calls(): readonly FailedCall[] {
    return this.#kept.toReversed();
  }

  /** Failed calls since the start, also those that are not kept. */
  get total(): number {
    return this.#total;
  }

  onCallEnd(call: EndedCall): void {
    const { fate } = call;
    if (fate === 'ok' || fate === 'cancelled') return;
    this.#total++;
    const nowMs = this.#clock.now();
    if (nowMs >= this.#secondEndsMs) {
      this.#secondEndsMs = nowMs + 1_000;
      this.#inThisSecond.clear();
    }
    const soFar = this.#inThisSecond.get(fate) ?? 0;
    if (soFar >= perFateAndSecond) return;
    this.#inThisSecond.set(fate, soFar + 1);
    if (this.#kept.length >= keptAtMost) this.#makeRoom();
    this.#kept.push(this.#written(call));
  }

  #written(call: EndedCall): FailedCall {
    return {
      id: ++this.#id,
      atMs: this.#clock.wallNow(),
      direction: call.direction,
      fate: call.fate,
      grpcStatus: call.grpcStatus,
      durationMs: Math.round(call.durationMs * 10) / 10,
      path: cut(call.path, longestText),
      authority: cut(call.authority, longestText),
      attempts: call.attempts,
      ...given('route', call.routeName),
      ...given('location', call.routeLocation),
      ...given('cluster', call.cluster),
      ...given('endpoint', call.endpoint),
      ...given('message', call.replyMessage, longestMessage),
      ...given('traceId', call.traceId),
    };
  }

  #makeRoom(): void {
    const counts = new Map<Fate, number>();
    let frequent: Fate | undefined;
    for (const { fate } of this.#kept) {
      const count = (counts.get(fate) ?? 0) + 1;
      counts.set(fate, count);
      if (frequent === undefined || count > (counts.get(frequent) as number)) frequent = fate;
    }
    this.#kept.splice(
      this.#kept.findIndex(({ fate }) => fate === frequent),
      1,
    );
  }
}
