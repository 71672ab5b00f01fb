import type { PathMatch, PolicyTable, Route } from '../../policy/index.ts';
import { type CallMetrics, type Direction, directions, type MethodMetrics, overflowLabel } from '../../telemetry/index.ts';
import type { RouteRow, RoutesSection } from './model.ts';
import type { RecentMinute } from './recent-minute.ts';

const shownAtMost = 300;

const matchText = (match: PathMatch): string => {
  switch (match.kind) {
    case 'prefix':
      return `${match.prefix}*`;
    case 'path':
      return match.path;
    case 'regex':
      return `regex ${match.regex}`;
  }
};

/** The label under which calls of the route are counted (`bound-table`). */
const labelOf = ({ match, name }: Route): string => (match.kind === 'prefix' ? match.prefix : match.kind === 'path' ? match.path : name);

const clustersOf = (route: Route): readonly string[] =>
  route.traffic?.weightedClusters?.clusters.map(({ name }) => name) ?? [route.cluster];

const keyOf = (service: string, method: string): string => `${service} ${method}`;

interface Inputs {
  readonly policies: PolicyTable;
  readonly calls: CallMetrics;
  readonly minute: RecentMinute;
  readonly serviceName: string;
}

class DirectionRows {
  readonly #inputs: Inputs;
  readonly #direction: Direction;
  readonly #counted = new Map<string, MethodMetrics>();
  readonly #shown = new Set<MethodMetrics>();

  constructor(inputs: Inputs, direction: Direction) {
    this.#inputs = inputs;
    this.#direction = direction;
    for (const metrics of inputs.calls.methods(direction)) this.#counted.set(keyOf(metrics.service, metrics.method), metrics);
  }

  rows(): readonly RouteRow[] {
    const routes = this.#inputs.policies[this.#direction].routes.map((route) => this.#row(route));
    return [...routes, ...this.#others()];
  }

  #row(route: Route): RouteRow {
    const clusters = clustersOf(route);
    const services = this.#direction === 'inbound' ? [this.#inputs.serviceName] : clusters;
    const metrics = services.flatMap((service) => this.#counted.get(keyOf(service, labelOf(route))) ?? []);
    const shared = metrics.some((each) => this.#shown.has(each));
    for (const each of metrics) this.#shown.add(each);
    const { file, line, column } = route.location;
    return {
      direction: this.#direction,
      name: route.name,
      match: `${matchText(route.match)}${route.headers.length === 0 ? '' : ` with ${route.headers.map(({ name }) => name).join(', ')}`}`,
      cluster: this.#direction === 'inbound' ? 'local service' : clusters.join(', ') || 'by :authority',
      location: line === 0 ? '' : `${file}:${line}:${column}`,
      timeoutMs: route.timeoutMs,
      retries: route.retry?.numRetries ?? 0,
      shared,
      ...this.#inputs.minute.of(metrics),
    };
  }

  /** Calls that followed no route of the policies in force. */
  *#others(): Iterable<RouteRow> {
    for (const metrics of this.#counted.values()) {
      if (this.#shown.has(metrics) || metrics.count === 0) continue;
      const nobodys = metrics.service === overflowLabel;
      const byDefault = metrics.method === overflowLabel;
      yield {
        direction: this.#direction,
        name: !byDefault ? 'a route of earlier policies' : nobodys ? 'calls without a route' : 'default route',
        match: byDefault ? 'any other path' : metrics.method,
        cluster: this.#direction === 'inbound' ? 'local service' : nobodys ? 'none' : metrics.service,
        location: '',
        timeoutMs: 0,
        retries: 0,
        shared: false,
        ...this.#inputs.minute.of([metrics]),
      };
    }
  }
}

/** Routes in the order of evaluation, and after them what went without one; each with its last minute. */
export const routesSection = (inputs: Inputs): RoutesSection => {
  const rows = directions.toReversed().flatMap((direction) => new DirectionRows(inputs, direction).rows());
  const { minute } = inputs;
  return {
    totals: { inbound: minute.all('inbound'), outbound: minute.all('outbound') },
    rows: rows.slice(0, shownAtMost),
    left: Math.max(0, rows.length - shownAtMost),
  };
};
