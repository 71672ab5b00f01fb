import { Deadline } from '../../core/index.ts';
import { statusFromHttp, statusName } from '../../grpc/index.ts';
import type { Engine, HeaderBlock, Stream } from '../../http2/index.ts';
import type { FaultPolicy } from '../../policy/index.ts';
import type { AttemptOutcome } from '../../resilience/index.ts';
import { headerValue } from '../headers.ts';
import { type LocalReply, localReply } from '../replies.ts';
import type { TrafficStats } from '../traffic-stats.ts';
import type { FaultHeaders } from './fault-headers.ts';
import { PacedAnswer } from './paced-answer.ts';

interface FaultyCall {
  readonly request: HeaderBlock;
  readonly rule: string;
  readonly faultHeaders: FaultHeaders | undefined;
  readonly retry: { readonly perTryTimeoutMs: number } | undefined;
  readonly proxy: { readonly engine: Engine; readonly random: () => number; readonly trafficStats: TrafficStats };
}

/** Who goes on after a delay, or fails. */
export interface FaultTarget {
  proceed(): void;
  failByFault(outcome: AttemptOutcome, reply: LocalReply): void;
}

/**
 * Faults for the attempts of one route. They stand where the service would: below retries and hedging, which see them as they would see
 * the service's; and before endpoints, breakers and outlier detection, which learn nothing from what never happened.
 */
export class Faults {
  readonly #policy: FaultPolicy;
  readonly #applies: boolean;

  constructor(policy: FaultPolicy, clusterName: string) {
    this.#policy = policy;
    this.#applies = policy.upstreamCluster === undefined || policy.upstreamCluster === clusterName;
  }

  /** Draws for one attempt. `undefined`: nothing happens to it. */
  draw(call: FaultyCall, target: FaultTarget): InjectedFault | undefined {
    const { headers } = this.#policy;
    if (!this.#applies) return undefined;
    if (headers.length > 0 && !headers.every((matcher) => matcher.matches(headerValue(call.request, matcher.name)))) return undefined;
    let delayMs = this.#drawDelay(call);
    const abort = this.#drawAbort(call);
    let bytesPerMs = abort === undefined ? this.#drawPace(call) : 0;
    const { trafficStats } = call.proxy;
    if ((delayMs > 0 || bytesPerMs > 0) && trafficStats.activeFaults >= this.#policy.maxActive) {
      trafficStats.faultsOverflow++;
      delayMs = 0;
      bytesPerMs = 0;
    }
    if (delayMs === 0 && abort === undefined && bytesPerMs === 0) return undefined;
    return new InjectedFault(call, { delayMs, abort, bytesPerMs }, target);
  }

  #drawDelay({ faultHeaders, proxy }: FaultyCall): number {
    const { delay } = this.#policy;
    if (delay === undefined) return 0;
    const ms = delay.ms ?? faultHeaders?.delayMs ?? 0;
    return ms > 0 && happens(proxy.random, delay.share, delay.ms === undefined ? faultHeaders?.delayPercent : undefined) ? ms : 0;
  }

  /** Bytes per millisecond of the answer; 0: as fast as it comes. */
  #drawPace({ faultHeaders, proxy }: FaultyCall): number {
    const limit = this.#policy.responseRateLimit;
    if (limit === undefined) return 0;
    const kibPerSecond = limit.kibPerSecond ?? faultHeaders?.responseKibPerSecond ?? 0;
    const askedPercent = limit.kibPerSecond === undefined ? faultHeaders?.responsePercent : undefined;
    return kibPerSecond > 0 && happens(proxy.random, limit.share, askedPercent) ? (kibPerSecond * 1_024) / 1_000 : 0;
  }

  #drawAbort({ faultHeaders, proxy }: FaultyCall): Abort | undefined {
    const { abort } = this.#policy;
    if (abort === undefined) return undefined;
    const grpcStatus = abort.byHeader ? positive(faultHeaders?.abortGrpcStatus) : abort.grpcStatus;
    const httpStatus = abort.byHeader ? positive(faultHeaders?.abortHttpStatus) : abort.httpStatus;
    if (grpcStatus === undefined && httpStatus === undefined) return undefined;
    if (!happens(proxy.random, abort.share, abort.byHeader ? faultHeaders?.abortPercent : undefined)) return undefined;
    return grpcStatus === undefined ? { httpStatus: httpStatus as number } : { grpcStatus };
  }
}

interface Drawn {
  readonly delayMs: number;
  readonly abort: Abort | undefined;
  /** Of the answer; 0: as fast as it comes. */
  readonly bytesPerMs: number;
}

type Abort = { readonly grpcStatus: number } | { readonly httpStatus: number };

const positive = (value: number | undefined): number | undefined => (value === undefined || value < 0 ? undefined : value);

/** A caller may ask for a smaller share than is written, as in Envoy; not for a larger one. */
const happens = (random: () => number, share: number, askedPercent: number | undefined): boolean => {
  const asked = positive(askedPercent);
  const least = asked === undefined ? share : Math.min(share, asked / 100);
  return least >= 1 || (least > 0 && random() < least);
};

/** What happens to one attempt. Its `Deadline` is the end of the delay, or of the attempt's time where that comes first. */
export class InjectedFault {
  readonly #deadline = new Deadline(this);
  readonly delayMs: number;
  readonly #call: FaultyCall;
  readonly #abort: Abort | undefined;
  readonly #bytesPerMs: number;
  readonly #target: FaultTarget;
  #paced: PacedAnswer | undefined = undefined;
  #active = false;

  constructor(call: FaultyCall, { delayMs, abort, bytesPerMs }: Drawn, target: FaultTarget) {
    this.#call = call;
    this.delayMs = delayMs;
    this.#abort = abort;
    this.#bytesPerMs = bytesPerMs;
    this.#target = target;
  }

  /** The target hears what becomes of it, possibly before this returns. */
  begin(): void {
    if (this.delayMs === 0) {
      this.#end();
      return;
    }
    const { engine, trafficStats } = this.#call.proxy;
    trafficStats.delaysInjected++;
    this.#begin();
    engine.wheel.arm(this.#deadline, engine.nowMs + (this.#timesOut ? this.#perTryMs : this.delayMs));
  }

  /** The attempt has its stream: from here on the answer may be slow. */
  pace(stream: Stream): void {
    if (this.#bytesPerMs === 0) return;
    this.#call.proxy.trafficStats.responseRateLimitsInjected++;
    this.#begin();
    this.#paced = new PacedAnswer(stream, this.#bytesPerMs);
  }

  #begin(): void {
    this.#active = true;
    this.#call.proxy.trafficStats.activeFaults++;
  }

  /** The attempt has ended. Idempotent. */
  cancel(): void {
    this.#paced?.stop();
    if (!this.#active) return;
    this.#active = false;
    const { engine, trafficStats } = this.#call.proxy;
    trafficStats.activeFaults--;
    engine.wheel.cancel(this.#deadline);
  }

  expire(): void {
    this.#call.proxy.engine.tick();
    this.cancel();
    if (!this.#timesOut) {
      this.#end();
      return;
    }
    const message = `a delay of ${this.delayMs} ms, injected by fault of ${this.#call.rule}, is longer than per_try_timeout (${this.#perTryMs} ms)`;
    this.#target.failByFault({ kind: 'per_try_timeout', requestSent: true }, localReply('per_try_timeout', message));
  }

  get #perTryMs(): number {
    return this.#call.retry?.perTryTimeoutMs ?? 0;
  }

  get #timesOut(): boolean {
    return this.#perTryMs > 0 && this.#perTryMs <= this.delayMs;
  }

  #end(): void {
    const abort = this.#abort;
    if (abort === undefined) {
      this.#target.proceed();
      return;
    }
    this.#call.proxy.trafficStats.abortsInjected++;
    const byHttp = 'httpStatus' in abort;
    const status = byHttp ? statusFromHttp(abort.httpStatus) : abort.grpcStatus;
    const what = byHttp ? `HTTP ${abort.httpStatus} (taken as ${statusName(status)})` : statusName(status);
    const reply = localReply(
      'fault_injected',
      `${what} was injected by fault of ${this.#call.rule}; remove it when the rehearsal is over`,
      status,
    );
    this.#target.failByFault(byHttp ? { kind: 'http', httpStatus: abort.httpStatus } : { kind: 'grpc', status }, reply);
  }
}
