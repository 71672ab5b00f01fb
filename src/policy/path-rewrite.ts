import { isGrpcPath } from '../grpc/index.ts';
import { group, required } from './group.ts';
import { compileRegex } from './header-matcher.ts';
import { homeOf } from './homes.ts';
import type { Place, Problems } from './problems.ts';
import { type Placed, placed, type Shape, text } from './shape.ts';
import type { PathRewrite } from './traffic-types.ts';
import type { PathMatch } from './types.ts';

export const prefixRewriteShape = placed(text('the beginning of a path, such as /acme.v2.Billing/'));

/** @param regex the shape of a `safe_regex`, which stands in `route-schema.ts`. */
export const regexRewriteShape = <R>(regex: Shape<R>) =>
  group(
    'regex_rewrite',
    'a group with "pattern:" and "substitution:"',
    {
      pattern: required(regex, 'What of the path is replaced, wherever it occurs'),
      substitution: required(
        placed(text('a text such as /v2\\1', { mayBeEmpty: true })),
        'By what; \\1 to \\9 are the groups of the pattern',
      ),
    },
    homeOf,
  );

export const rewriteDoc = 'What the service sees as the path in place of what matched; policies and statistics see the path as it came';

interface WrittenRewrite {
  readonly prefix: Placed<string> | undefined;
  readonly regex:
    | {
        readonly values: {
          readonly pattern?: Parameters<typeof compileRegex>[0] | undefined;
          readonly substitution?: Placed<string> | undefined;
        };
      }
    | undefined;
  readonly regexPlace: Place;
}

export const compilePathRewrite = (
  { prefix, regex, regexPlace }: WrittenRewrite,
  match: PathMatch | undefined,
  problems: Problems,
): PathRewrite | undefined => {
  if (prefix !== undefined && regex !== undefined) {
    problems.error(regexPlace, 'is written beside prefix_rewrite', 'keep one of them');
    return undefined;
  }
  if (prefix !== undefined) return compilePrefix(prefix, match, problems);
  if (regex?.values.pattern === undefined || regex.values.substitution === undefined) return undefined;
  const compiled = compileRegex(regex.values.pattern, problems);
  const { value: substitution, place } = regex.values.substitution;
  if (compiled === undefined) return undefined;
  const parts = partsOf(substitution, compiled.groupCount(), place, problems);
  const replace = (...groups: readonly (string | undefined)[]): string =>
    parts.map((part) => (typeof part === 'string' ? part : (groups[part] ?? ''))).join('');
  return { text: `${compiled.pattern()} -> ${substitution}`, rewrite: (path) => compiled.matcher(path).replaceAll(replace) };
};

const compilePrefix = ({ value, place }: Placed<string>, match: PathMatch | undefined, problems: Problems): PathRewrite | undefined => {
  if (!value.startsWith('/'))
    problems.error(place, `${JSON.stringify(value)} does not begin with a slash`, `write ${JSON.stringify(`/${value}`)}`);
  switch (match?.kind) {
    case undefined:
      return undefined;
    case 'prefix': {
      const { length } = match.prefix;
      return { text: value, rewrite: (path) => value + path.slice(length) };
    }
    case 'path':
    case 'regex':
      // Envoy replaces what matched, and here that is the whole path.
      if (!isGrpcPath(value))
        problems.error(place, `${JSON.stringify(value)} takes the place of the whole path, and is none`, 'write /package.Service/Method');
      return { text: value, rewrite: () => value };
  }
};

/** Texts, and numbers of groups, in the order in which they are joined. */
const partsOf = (substitution: string, groups: number, place: Place, problems: Problems): readonly (string | number)[] =>
  (substitution.match(/\\.?|[^\\]+/g) ?? []).map((part) => {
    if (!part.startsWith('\\')) return part;
    if (part === '\\\\') return '\\';
    if (!/^\\\d$/.test(part)) {
      problems.error(place, `${JSON.stringify(part)} means nothing`, 'write \\\\ for a backslash, or \\1 for a group');
      return '';
    }
    const group = Number(part.slice(1));
    if (group > groups) problems.error(place, `names group ${group}, and the pattern has ${groups}`, 'put the group into parentheses');
    return group;
  });
