import { PathIndex } from './path-index.ts';
import type { Route, RouteTable } from './types.ts';

/** Routes in the order of evaluation, found by their path. Immutable. */
export class IndexedRouteTable implements RouteTable {
  readonly routes: readonly Route[];
  readonly fallback: Route;
  readonly #index: PathIndex;
  /** The routes of the positions that the index found; it hands out the same list for the same answer. */
  readonly #answers = new WeakMap<readonly number[], readonly Route[]>();

  constructor(routes: readonly Route[], fallback: Route, index = indexRoutes(routes)) {
    this.routes = Object.freeze([...routes]);
    this.fallback = fallback;
    this.#index = index;
  }

  candidates(path: string): readonly Route[] {
    const positions = this.#index.find(path);
    const known = this.#answers.get(positions);
    if (known !== undefined) return known;
    const routes = Object.freeze(positions.map((position) => this.routes[position] as Route));
    this.#answers.set(positions, routes);
    return routes;
  }
}

export const indexRoutes = (routes: readonly Route[]): PathIndex =>
  new PathIndex(routes.map(({ match, headers }) => ({ match, unconditional: headers.length === 0 })));
