import { GrpcStatus, type ServingStatus } from '../../grpc/index.ts';
import type { Connection } from '../../http2/index.ts';
import type { GrpcHealthCheck } from '../../resilience/index.ts';
import type { Endpoint } from '../endpoint.ts';
import { verdictOfEnd, verdictOfServing } from './grpc-verdict.ts';
import { type ExchangeEnd, type ExchangeOwner, HealthExchange, type HealthRequestOptions } from './health-exchange.ts';
import type { OnVerdict, Probe } from './probe.ts';

export interface GrpcProbeOptions {
  readonly endpoint: Endpoint;
  readonly check: GrpcHealthCheck;
  readonly request: HealthRequestOptions;
  readonly timeoutMs: number;
  readonly onVerdict: OnVerdict;
  /** The stream of a `Watch` is gone. `retired`: only its connection goes away, which says nothing about the endpoint. */
  readonly onWatchGone: (why: 'retired' | 'ended', after: string) => void;
}

/**
 * Asks by `Watch` where that is wanted and the server has it, else by `Check`. A `Watch` stays open: each message of the server is a verdict of
 * its own, and while it is open there is nothing to ask.
 */
export class GrpcProbe implements Probe, ExchangeOwner {
  readonly #options: GrpcProbeOptions;
  #checking: HealthExchange | undefined = undefined;
  /** One that has said something. */
  #watch: HealthExchange | undefined = undefined;
  #serving: ServingStatus | undefined = undefined;
  #watchRefused = false;

  constructor(options: GrpcProbeOptions) {
    this.#options = options;
  }

  /** The server tells of every change by itself. */
  get watching(): boolean {
    return this.#watch !== undefined;
  }

  /** The server has no `Watch`. */
  get watchRefused(): boolean {
    return this.#watchRefused;
  }

  begin(): void {
    if (this.#checking !== undefined) return;
    const { check } = this.#options;
    this.#exchange(check.watch && !this.#watchRefused && this.#watch === undefined ? 'watch' : 'check');
  }

  cancel(): void {
    this.#checking?.cancel();
    this.#watch?.cancel();
    this.#checking = undefined;
    this.#watch = undefined;
  }

  /** The connection ends with the streams that it has: a `Watch` would hold it, and a server that waits for it, for ever. */
  onConnectionRetired(connection: Connection): void {
    if (this.#watch?.isOn(connection) !== true) return;
    this.#watch.cancel();
    this.#watch = undefined;
    this.#options.onWatchGone('retired', 'the connection goes away');
  }

  onServing(exchange: HealthExchange, status: ServingStatus): void {
    if (!exchange.watches) {
      this.#serving = status;
      return;
    }
    if (exchange === this.#checking) {
      this.#watch = exchange;
      this.#checking = undefined;
    }
    this.#options.onVerdict(verdictOfServing(status, this.#options.check));
  }

  onExchangeEnd(exchange: HealthExchange, end: ExchangeEnd): void {
    const { check, onVerdict, onWatchGone } = this.#options;
    if (exchange === this.#watch) {
      this.#watch = undefined;
      onWatchGone('ended', end.kind === 'answered' ? `the server ended the Watch with status ${end.status}` : end.why);
      return;
    }
    this.#checking = undefined;
    if (exchange.watches && end.kind === 'answered' && end.status === GrpcStatus.UNIMPLEMENTED) {
      this.#watchRefused = true;
      this.#exchange('check');
      return;
    }
    onVerdict(verdictOfEnd(end, this.#serving, check));
  }

  #exchange(kind: 'watch' | 'check'): void {
    const { endpoint, request, timeoutMs } = this.#options;
    this.#serving = undefined;
    this.#checking = new HealthExchange(kind, endpoint, request, timeoutMs, this);
    this.#checking.begin();
  }
}
