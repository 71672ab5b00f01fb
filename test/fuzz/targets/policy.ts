import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { compilePolicies, formatProblem, type PolicyTable } from '../../../src/policy/index.ts';
import { mutateYaml } from '../mutators/text.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const examples = join(import.meta.dirname, '../../../policies');

/** Paths that are looked up in every table that compiles. */
const paths = ['/acme.Echo/Call', '/', '', '*', '/a/b?c', `/${'a'.repeat(3_000)}/b`, '/\u00e4.x/y', '/learner.Learner/Get'];

export class PolicyTarget implements FuzzTarget {
  readonly name = 'policy';
  readonly longestInputBytes = 16_000;

  seeds(): readonly Buffer[] {
    return ['envoy-snippets.yaml', 'matching.yaml', 'mesh.yaml', 'canary-by-weight.yaml', 'rate-limit-per-caller.yaml'].map((file) =>
      readFileSync(join(examples, file)),
    );
  }

  mutate(random: Random, input: Buffer, other: Buffer): Buffer {
    return mutateYaml(random, input, other);
  }

  run(input: Buffer): void {
    const compile = () => compilePolicies([{ path: 'fuzz.yaml', bytes: input }]);
    const { table, problems } = compile();
    const lines = input.toString('utf8').split('\n');
    for (const problem of problems) {
      const { line, column, file } = problem.location;
      assert.equal(file, 'fuzz.yaml', `a problem of no file: ${problem.message}`);
      assert.ok(line >= 0 && line <= lines.length + 1 && column >= 0, `a place that does not exist: ${line}:${column}`);
      // A line of its own, or the file as a whole.
      assert.equal(line === 0, column === 0, `half a place: ${line}:${column}`);
      assert.ok(problem.message !== '' && problem.remedy !== '', 'says what is wrong and what to write instead');
      assert.ok(
        !/undefined|\[object|NaN/.test(`${problem.message}${problem.remedy}`.replaceAll(input.toString(), '')) ||
          /undefined|object|NaN/i.test(input.toString()),
        `made of nothing: ${formatProblem(problem)}`,
      );
    }
    assert.equal(
      table === undefined,
      problems.some(({ severity }) => severity === 'error'),
      'a table exactly where there is no error',
    );
    const again = compile();
    assert.deepEqual(again.problems, problems, 'the same problems each time');
    assert.deepEqual(describe(again.table), describe(table), 'the same table each time');
    if (table !== undefined) checkTable(table);
  }
}

/** Everything of a table that is data; matchers are asked below. */
const describe = (table: PolicyTable | undefined): unknown =>
  table === undefined
    ? undefined
    : JSON.parse(
        JSON.stringify({ ...table, clusters: [...table.clusters], outbound: table.outbound.routes, inbound: table.inbound.routes }),
      );

const checkTable = (table: PolicyTable): void => {
  for (const { routes, candidates } of [table.outbound, table.inbound].map((of) => ({
    routes: of.routes,
    candidates: of.candidates.bind(of),
  }))) {
    assert.equal(new Set(routes.map(({ id }) => id)).size, routes.length, 'ids are unique');
    for (const route of routes) {
      for (const number of [route.timeoutMs, route.idleTimeoutMs, route.bufferLimitBytes, route.retryHeadersHoldMs]) {
        assert.ok(Number.isFinite(number) && number >= 0, `a limit of ${number} in ${route.name}`);
      }
      for (const matcher of route.headers)
        for (const value of [undefined, '', 'a', '5', 'v'.repeat(2_000)]) assert.equal(typeof matcher.matches(value), 'boolean');
    }
    for (const path of paths) {
      const found = candidates(path);
      let before = -1;
      for (const route of found) {
        const at = routes.indexOf(route);
        assert.ok(at > before, 'candidates come in the order of the routes');
        before = at;
      }
      // What the index leaves out must not match by the letter.
      const ends = found.findIndex(({ headers }) => headers.length === 0);
      assert.ok(ends < 0 || ends === found.length - 1, 'nothing behind the first route without conditions');
      for (const [at, route] of routes.entries()) {
        if (ends >= 0 && at > before) break;
        const literal =
          route.match.kind === 'prefix'
            ? path.startsWith(route.match.prefix)
            : route.match.kind === 'path'
              ? path === route.match.path
              : undefined;
        if (literal !== undefined) assert.equal(found.includes(route), literal, `route ${route.name} for ${path.slice(0, 40)}`);
      }
    }
  }
  for (const [name, cluster] of table.clusters) {
    assert.equal(cluster.name, name);
    for (const number of [
      cluster.connectTimeoutMs,
      cluster.keepaliveIntervalMs,
      cluster.keepaliveTimeoutMs,
      cluster.maxConcurrentStreams,
    ]) {
      assert.ok(Number.isFinite(number) && number >= 0, `a limit of ${number} in cluster ${name}`);
    }
    if (cluster.endpoints.kind === 'static')
      for (const { port, host, weight } of cluster.endpoints.endpoints)
        assert.ok(host !== '' && Number.isInteger(port) && port > 0 && port < 65_536 && weight >= 1, `endpoint ${host}:${port}`);
  }
};
