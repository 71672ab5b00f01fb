import assert from 'node:assert/strict';
import { compilePolicies, formatProblem, type PolicyTable } from '../../src/policy/index.ts';

/** Compiles one text as the file `p.yaml`; further texts as `q.yaml`, `r.yaml`. */
export const compile = (...texts: readonly string[]) =>
  compilePolicies(texts.map((text, i) => ({ path: `${'pqr'[i] ?? 'x'}.yaml`, bytes: new TextEncoder().encode(text) })));

/** Everything that is said about the texts, as lines. */
export const problemsOf = (...texts: readonly string[]): readonly string[] => compile(...texts).problems.map(formatProblem);

/** The table of texts that must be right. */
export const tableOf = (...texts: readonly string[]): PolicyTable => {
  const { table, problems } = compile(...texts);
  assert.ok(table, problems.map(formatProblem).join('\n'));
  return table;
};

/** A file with one route, around its `match`. */
export const routeMatching = (match: string): string =>
  `routes:\n  - match: ${match}\n    route: { cluster: c, timeout: 1s }\nclusters: { c: { endpoints: ["10.0.0.1:1"] } }\n`;

/** A file with one cluster, around its keys. */
export const clusterWith = (keys: string): string => `clusters:\n  c: ${keys}\n`;
