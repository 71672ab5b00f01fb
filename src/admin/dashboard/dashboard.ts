import type { ServerResponse } from 'node:http';
import type { Clock } from '../../core/index.ts';
import { AdminProblem, type AdminReply } from '../reply.ts';
import type { AdminViews } from '../views.ts';
import { EventStreams } from './event-streams.ts';
import { dashboardPage, type ListedPath } from './page-file.ts';
import { RecentMinute } from './recent-minute.ts';
import { SectionReader } from './sections.ts';
import { TrafficHistory } from './traffic-history.ts';

/** Streams of events at once: each is a page that somebody looks at, and takes one of the admin port's connections. */
const streamsAtMost = 16;

/** The dashboard: one page, and the stream of events that fills it. */
export class Dashboard {
  readonly #history: TrafficHistory;
  readonly #minute: RecentMinute;
  readonly #streams: EventStreams;
  readonly #forgetStats: () => void;
  #page: AdminReply | undefined;

  /** @param connectionsAtMost of the admin port: streams leave three quarters of them to others. */
  constructor(views: AdminViews, clock: Clock, connectionsAtMost: number) {
    this.#history = new TrafficHistory(views.calls, clock);
    this.#minute = new RecentMinute(views.calls, clock);
    let sections: SectionReader | undefined;
    this.#streams = new EventStreams({
      clock,
      log: views.log,
      history: this.#history,
      read: () => {
        sections ??= new SectionReader(views, clock, this.#minute);
        return sections.read();
      },
      followersAtMost: Math.max(1, Math.min(streamsAtMost, Math.floor(connectionsAtMost / 4))),
    });
    this.#forgetStats = views.stats.add(this.#streams);
  }

  /** Keeps what charts begin with; to be called now and then at any time. Costs a comparison, and every 15 s some additions for each method. */
  keep(): void {
    if (this.#history.keep()) this.#minute.turn();
  }

  /** Made at the first request: few sidecars are ever looked at. */
  page(paths: readonly ListedPath[]): AdminReply {
    this.#page ??= dashboardPage(paths);
    return this.#page;
  }

  /** `/events`. Throws a problem where too many follow already. */
  events(): AdminReply {
    if (this.#streams.isFull) {
      this.#streams.countRefusal();
      throw new AdminProblem(
        503,
        `${this.#streams.active} dashboards are open, and no more may be; close one, or read /clusters and /stats`,
        {
          headers: { 'retry-after': '5' },
        },
      );
    }
    return {
      status: 200,
      contentType: 'text/event-stream',
      body: 'retry: 1000\n\n',
      // Proxies must not collect events.
      headers: { 'x-accel-buffering': 'no' },
      follow: (response: ServerResponse) => this.#streams.follow(response),
    };
  }

  /** Ends every stream. */
  close(): void {
    this.#streams.close();
    this.#forgetStats();
  }
}
