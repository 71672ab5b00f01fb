import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import type { Clock, Logger, Shortcoming } from '../../core/index.ts';
import { BoundedExports } from '../bounded-exports.ts';
import type { LoadedExporter } from './exporters.ts';
import { HostLookUp } from './host-look-up.ts';
import { describeDestination, hostOfDestination, type SpanDestination, tlsRemedy } from './tracing-options.ts';

/** Spans since the start, over all destinations. */
export interface ExportCounts {
  exported: number;
  failed: number;
  requestsFailed: number;
}

export interface CountingExporterContext {
  readonly clock: Clock;
  readonly log: Logger;
  /** How long a request may take. */
  readonly timeoutMs: number;
  readonly counts: ExportCounts;
}

type Done = Parameters<SpanExporter['export']>[1];
/** What the SDK calls SUCCESS. */
const success = 0;

/**
 * Stands between the SDK's queue and an exporter: counts what becomes of spans, bounds the time of a request (not every exporter does), and
 * says once when a destination stops taking spans, and once when it takes them again.
 */
export class CountingExporter implements SpanExporter {
  /** Spans that wait in the queue, or are on their way. */
  waiting = 0;
  readonly #exporter: SpanExporter;
  readonly #abort: () => void;
  readonly #destination: SpanDestination;
  readonly #context: CountingExporterContext;
  readonly #requests: BoundedExports;
  readonly #lookUp: HostLookUp;
  #shortcoming: Shortcoming | undefined;
  #lost = 0;

  constructor({ abort, exporter }: LoadedExporter, destination: SpanDestination, context: CountingExporterContext) {
    this.#exporter = exporter;
    this.#abort = abort;
    this.#destination = destination;
    this.#context = context;
    this.#requests = new BoundedExports(context.clock, context.timeoutMs);
    this.#lookUp = new HostLookUp(hostOfDestination(destination), context.clock, (problem) => {
      if (problem === undefined) this.#recover();
      else this.#complain(problem);
    });
  }

  /** Why spans do not arrive now; `undefined` while they do, as far as is known. */
  get shortcoming(): Shortcoming | undefined {
    return this.#shortcoming;
  }

  export(spans: ReadableSpan[], done: Done): void {
    const { problem: lost } = this.#lookUp;
    if (lost !== undefined) {
      // Another lookup for each batch would leave none for those who need one, such as for Consul's name.
      this.waiting -= spans.length;
      this.#onFailure(spans.length, lost);
      done({ code: success });
      return;
    }
    this.#requests.run(
      (taken) => this.#exporter.export(spans, taken),
      (problem) => {
        this.waiting -= spans.length;
        if (problem === undefined) this.#onSuccess(spans.length);
        else this.#onFailure(spans.length, problem);
        // The failure has been told: the processor would only report it to a handler that nobody has set.
        done({ code: success });
      },
      // This may be called at the end of a call, and writing down a batch takes longer than a hundred of them.
      true,
    );
  }

  /** Ends every request under way, and those that come: there is no more time. */
  giveUp(): void {
    this.#lookUp.close();
    this.#abort();
    this.#requests.giveUp();
  }

  /** Waits for what is under way, of which the queue forgets a batch that it has sent by itself, and Jaeger's exporter would cut it off. */
  async shutdown(): Promise<void> {
    this.#lookUp.close();
    await this.#requests.settled();
    const ended = this.#exporter.shutdown();
    // Those that were given up are nobody's any more.
    if (this.#requests.givenUp) ended.catch(() => {});
    else await ended;
  }

  async forceFlush(): Promise<void> {}

  #onSuccess(spans: number): void {
    this.#context.counts.exported += spans;
    this.#recover();
  }

  #recover(): void {
    if (this.#shortcoming === undefined) return;
    this.#shortcoming = undefined;
    this.#context.log.info('spans are taken again', { to: describeDestination(this.#destination), lost: this.#lost });
    this.#lost = 0;
  }

  #onFailure(spans: number, why: string): void {
    const { counts } = this.#context;
    counts.failed += spans;
    counts.requestsFailed++;
    this.#lost += spans;
    this.#complain(why);
  }

  #complain(why: string): void {
    if (this.#shortcoming !== undefined) return;
    const [to, remedy] = [describeDestination(this.#destination), remedyOf(this.#destination)];
    this.#shortcoming = { why: `spans could not be sent to ${to}: ${why}`, remedy };
    this.#context.log.warning('spans could not be sent, and are lost until they can; calls go on', { to, why, remedy });
  }
}

const remedyOf = (destination: SpanDestination): string => {
  if (destination.kind === 'otlp') {
    const setting = 'OTEL_EXPORTER_OTLP_ENDPOINT';
    const protocol = destination.protocol === 'grpc' ? 'gRPC (usually port 4317)' : 'HTTP (usually port 4318)';
    return `see that a collector takes OTLP by ${protocol} there, or correct ${setting} or OTEL_EXPORTER_OTLP_PROTOCOL${tlsRemedy(destination)}`;
  }
  if (destination.endpoint !== undefined)
    return 'see that a collector of Jaeger takes thrift there, or correct OTEL_EXPORTER_JAEGER_ENDPOINT';
  return 'see that the name resolves and an agent of Jaeger listens there by UDP (usually port 6832), or correct JAEGER_HOST';
};
