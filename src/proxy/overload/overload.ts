import type { Logger } from '../../core/index.ts';
import type { Engine, HeaderBlock } from '../../http2/index.ts';
import type { ProcessSample, StatSink, StatSource } from '../../telemetry/index.ts';
import { encodeReply, type LocalReply, localReply } from '../replies.ts';

/** Bytes of resident memory that the process may use; infinite where nobody set a limit. */
export interface OverloadOptions {
  readonly memoryLimitBytes: number;
}

/** Envoy's names of what an overloaded proxy does, and one of ours. */
export type OverloadActionName =
  | 'disable_http_keepalive'
  | 'stop_accepting_connections'
  | 'stop_accepting_requests'
  | 'shed_newest_requests';

/** Shares of the memory limit. An action ends two hundredths below where it begins, so that it does not flicker. */
const idleShare = 0.92;
const stopShare = 0.95;
const hysteresis = 0.02;
/** Samples without a refused call, after which none are being shed. */
const quietSamples = 2;
const tooMuchToDo = 'there is more to do than this process can; give it more CPU, or the service more instances';

/** Who knows what a call is worth. */
export interface CallPriorities {
  isHigh(request: HeaderBlock): boolean;
}

class OverloadAction {
  active = false;
  /** Calls refused by it, or connections. */
  shed = 0;
  /** Calls that it would have refused, and let through for their priority. */
  spared = 0;
}

/**
 * What the process does when it has too little memory or too little time: less, in an order that keeps what is under way and the admin
 * port. It looks at each sample of `ProcessStats`; nothing is measured per call.
 */
export class Overload implements StatSource {
  readonly #engine: Engine;
  readonly #log: Logger;
  readonly #memoryLimitBytes: number;
  readonly #actions: Readonly<Record<OverloadActionName, OverloadAction>> = {
    disable_http_keepalive: new OverloadAction(),
    stop_accepting_connections: new OverloadAction(),
    stop_accepting_requests: new OverloadAction(),
    shed_newest_requests: new OverloadAction(),
  };
  readonly #listeners = new Set<() => void>();
  #memoryShare = 0;
  #heapShare = 0;
  #longestTurnMs = 0;
  #quietSamples = 0;
  #shedAtLastSample = 0;
  #memoryReply: LocalReply = localReply('overloaded', '');
  /** What calls hear for which there is no time. */
  readonly timeReply: LocalReply;
  /** The same, encoded. */
  readonly timeRefusal: Uint8Array;

  constructor(engine: Engine, log: Logger, options: OverloadOptions) {
    this.#engine = engine;
    this.#log = log;
    this.#memoryLimitBytes = options.memoryLimitBytes;
    // Short, since it is encoded for each of them: a third of what a refusal costs is its message.
    this.timeReply = localReply('overloaded', 'the sidecar is short of CPU; call again later');
    this.timeRefusal = encodeReply(this.timeReply);
  }

  /** Hears of every sample, after the actions were chosen. */
  onSample(listener: () => void): void {
    this.#listeners.add(listener);
  }

  isActive(name: OverloadActionName): boolean {
    return this.#actions[name].active;
  }

  get activeActions(): readonly OverloadActionName[] {
    return (Object.keys(this.#actions) as OverloadActionName[]).filter((name) => this.isActive(name));
  }

  /** Why nothing should be sent here, or `undefined`. */
  get unready(): string | undefined {
    return this.isActive('stop_accepting_connections') ? this.#memoryWhy() : undefined;
  }

  /** The answer to a call that begins now and must be refused for want of memory: nothing is spared then. */
  refuseForMemory(): LocalReply | undefined {
    const { stop_accepting_requests: action } = this.#actions;
    if (!action.active) return undefined;
    action.shed++;
    return this.#memoryReply;
  }

  /** A connection whose calls wait too long has one that would be refused: it is served where its priority is high. */
  spares(priorities: CallPriorities, request: HeaderBlock): boolean {
    if (!priorities.isHigh(request)) return false;
    this.#actions.shed_newest_requests.spared++;
    return true;
  }

  /** A connection whose calls wait too long has refused one. */
  onShed(): void {
    this.#actions.shed_newest_requests.shed++;
  }

  /** Takes what was measured and chooses what is done until the next sample. */
  sample({ rssBytes, heapShare }: Pick<ProcessSample, 'rssBytes' | 'heapShare'>): void {
    this.#memoryShare = rssBytes / this.#memoryLimitBytes;
    this.#heapShare = heapShare;
    this.#longestTurnMs = this.#engine.longestTurnMs;
    this.#engine.longestTurnMs = 0;
    this.#chooseByMemory();
    this.#chooseByTime();
    for (const listener of this.#listeners) listener();
  }

  collectStats(sink: StatSink): void {
    sink.gauge('overload.memory.pressure', Math.round(this.#memoryShare * 100));
    sink.gauge('overload.heap.pressure', Math.round(this.#heapShare * 100));
    sink.gauge('overload.event_loop.longest_turn_ms', Math.round(this.#longestTurnMs));
    for (const [name, { active, shed }] of Object.entries(this.#actions)) {
      sink.gauge(`overload.${name}.active`, active ? 1 : 0);
      if (name === 'stop_accepting_requests' || name === 'shed_newest_requests') sink.counter(`overload.${name}.shed_load_count`, shed);
    }
    sink.counter('overload.shed_newest_requests.spared_count', this.#actions.shed_newest_requests.spared);
  }

  #chooseByMemory(): void {
    const share = Math.max(this.#memoryShare, this.#heapShare);
    const stop = this.#decide('stop_accepting_connections', share, stopShare);
    if (stop) this.#memoryReply = localReply('overloaded', this.#memoryWhy());
    this.#actions.stop_accepting_requests.active = stop;
    this.#decide('disable_http_keepalive', share, idleShare);
  }

  #decide(name: OverloadActionName, share: number, threshold: number): boolean {
    const action = this.#actions[name];
    if (!action.active && share >= threshold) this.#enter(name, this.#memoryWhy());
    else if (action.active && share < threshold - hysteresis) this.#leave(name);
    return action.active;
  }

  #chooseByTime(): void {
    const { shed_newest_requests: action } = this.#actions;
    const shed = action.shed - this.#shedAtLastSample;
    this.#shedAtLastSample = action.shed;
    this.#quietSamples = shed > 0 ? 0 : this.#quietSamples + 1;
    if (!action.active && shed > 0) this.#enter('shed_newest_requests', `calls wait too long before they are read: ${tooMuchToDo}`);
    else if (action.active && this.#quietSamples >= quietSamples) this.#leave('shed_newest_requests');
  }

  #memoryWhy(): string {
    const heap = this.#heapShare > this.#memoryShare;
    const percent = Math.floor(Math.max(this.#memoryShare, this.#heapShare) * 100);
    const limit = heap ? 'of its JavaScript heap' : `of its memory limit of ${Math.round(this.#memoryLimitBytes / 2 ** 20)} MiB`;
    const remedy = heap ? 'raise --max-old-space-size in NODE_OPTIONS' : "raise MAX_MEMORY or the container's limit";
    return `the sidecar uses ${percent} % ${limit}; ${remedy}, or send it less at once`;
  }

  #enter(name: OverloadActionName, why: string): void {
    this.#actions[name].active = true;
    this.#log.warning('overloaded', { action: name, why });
  }

  #leave(name: OverloadActionName): void {
    this.#actions[name].active = false;
    this.#log.info('no longer overloaded', { action: name, refused: this.#actions[name].shed });
  }
}
