import { PathIndex } from './path-index.ts';
import type { Route, RouteTable } from './types.ts';

/** Routes in the order of evaluation, found by their path. Immutable. */
export class IndexedRouteTable implements RouteTable {
  readonly routes: readonly Route[];
  readonly fallback: Route;
  readonly #index: PathIndex<Route>;

  /** @param index of the same routes. */
  constructor(routes: readonly Route[], fallback: Route, index = new PathIndex(routes)) {
    this.routes = Object.freeze([...routes]);
    this.fallback = fallback;
    this.#index = index;
  }

  candidates(path: string): readonly Route[] {
    return this.#index.find(path);
  }
}
