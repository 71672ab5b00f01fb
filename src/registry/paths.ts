import { agentPaths } from './agent-paths.ts';
import { cataloguePaths } from './catalogue-paths.ts';
import { keyValuePaths } from './key-value-paths.ts';
import type { RegistryPath } from './path.ts';

/** Everything that a registry answers. */
export const registryPaths: readonly RegistryPath[] = [...agentPaths, ...cataloguePaths, ...keyValuePaths];

/** The entry for a path, with what follows its own part. Longer ones first: `/v1/agent/service/register` is no service. */
export const findPath = (path: string): { readonly entry: RegistryPath; readonly rest: string } | undefined => {
  let best: RegistryPath | undefined;
  for (const entry of registryPaths) {
    const isHere = entry.path.endsWith('/') ? path.startsWith(entry.path) : path === entry.path;
    if (isHere && entry.path.length > (best?.path.length ?? 0)) best = entry;
  }
  return best === undefined ? undefined : { entry: best, rest: path.slice(best.path.length) };
};
