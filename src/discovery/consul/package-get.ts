import type Consul from 'consul';
import type { ConsulCallContext } from './consul-client.ts';

interface PackageRequest {
  readonly err?: Error & { response?: unknown };
  readonly res: { readonly body?: unknown };
}

/** What the methods of the package are made of; its types leave it out. */
interface Extensible {
  _get(
    request: { readonly name: string; readonly path: string; readonly query: object; readonly ctx: ConsulCallContext },
    after: (request: PackageRequest, next: (stop: false, error?: Error, result?: unknown) => void) => void,
  ): Promise<unknown>;
}

/** GET of a part of Consul's API that the package has no method for. @param path below `/v1`, of our own making. */
export const getPath = (api: Consul, path: string, query: Readonly<Record<string, string>>, ctx: ConsulCallContext): Promise<unknown> =>
  (api as unknown as Extensible)._get({ name: path, path, query, ctx }, ({ err, res }, next) => {
    if (err === undefined) next(false, undefined, [res, res.body]);
    else {
      err.response = res;
      next(false, err);
    }
  });
