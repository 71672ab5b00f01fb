import { GrpcStatus, statusOfName } from '../grpc/index.ts';
import { type ResponseFlag, responseFlags } from './access-log-names.ts';
import type { AccessLogComparison, AccessLogFilter } from './access-log-types.ts';
import { percentShape } from './fractional-percent.ts';
import { field, type Group, type GroupShape, group, inert, refused, required } from './group.ts';
import { headerMatchShape } from './header-match-schema.ts';
import { compileHeaderMatcher } from './header-matcher.ts';
import { homeOf } from './homes.ts';
import type { Place, Problems } from './problems.ts';
import { count, flag, list, type Read, type Shape, text, word } from './shape.ts';

const nothing = (name: string) => group(name, '{}', {}, homeOf);

const comparisonShape = group(
  'comparison_filter',
  'a group such as { comparison: { op: GE, value: { default_value: 500 } } }',
  {
    comparison: required(
      group(
        'comparison',
        'a group with "op:" and "value:"',
        {
          op: field(word(['EQ', 'GE', 'LE', 'NE']), 'How it is compared: equal, at least, at most, not equal; EQ where left out'),
          value: required(
            group(
              'compared_value',
              'a group with "default_value:"',
              {
                default_value: required(count(), 'With what it is compared'),
                runtime_key: inert(text('a name'), 'remove it: there is no runtime; change the file'),
              },
              homeOf,
            ),
            'With what it is compared',
          ),
        },
        homeOf,
      ),
      'The comparison that must hold',
    ),
  },
  homeOf,
);

/** Filters hold filters: the shape of one is known only when all are. */
const filterList: Shape<readonly FilterGroup[]> = {
  expected: 'a list of two filters or more',
  read: (node, path, problems) => list(accessLogFilterShape, { minItems: 2 }).read(node, path, problems),
  jsonSchema: (parts) => list(accessLogFilterShape, { minItems: 2 }).jsonSchema(parts),
};

const severalShape = (name: string) =>
  group(name, 'a group with "filters:"', { filters: required(filterList, 'Two filters or more') }, homeOf);

const statusNames = word(Object.keys(GrpcStatus) as readonly (keyof typeof GrpcStatus)[], { CANCELED: 'CANCELLED' });

const filterFields = {
  status_code_filter: field(comparisonShape, 'By the HTTP status of the answer, 0 where none had begun'),
  duration_filter: field(comparisonShape, 'By how long the call took, in milliseconds'),
  grpc_status_filter: field(
    group(
      'grpc_status_filter',
      'a group with "statuses:"',
      {
        statuses: required(list(statusNames, { minItems: 1 }), 'Calls that ended with one of these'),
        exclude: field(flag, 'true: calls that ended with none of them; false where left out'),
      },
      homeOf,
    ),
    'By the status of gRPC',
  ),
  response_flag_filter: field(
    group(
      'response_flag_filter',
      'a group such as { flags: [UH, UF] }, or {}',
      {
        flags: field(
          list(word(Object.keys(responseFlags) as readonly ResponseFlag[]), { minItems: 1 }),
          'Calls that have one of these flags; any flag where left out',
        ),
      },
      homeOf,
    ),
    'By the response flags',
  ),
  header_filter: field(
    group(
      'header_filter',
      'a group with "header:"',
      { header: required(headerMatchShape, 'What a header of the request must be') },
      homeOf,
    ),
    'By a header of the request',
  ),
  runtime_filter: field(
    group(
      'runtime_filter',
      'a group with "percent_sampled:"',
      {
        percent_sampled: field(percentShape, 'Share of the calls; none where left out'),
        use_independent_randomness: field(flag, 'By chance also where a call has an x-request-id; false where left out'),
        runtime_key: inert(text('a name'), 'remove it: there is no runtime; change the file'),
      },
      homeOf,
    ),
    'A share of the calls; the same ones in every sidecar that they pass, by their x-request-id',
  ),
  not_health_check_filter: field(nothing('not_health_check_filter'), 'Calls of any service but grpc.health.v1.Health'),
  traceable_filter: field(nothing('traceable_filter'), 'Calls whose trace is recorded'),
  and_filter: field(severalShape('and_filter'), 'All of several filters; asked in their order'),
  or_filter: field(severalShape('or_filter'), 'Any of several filters; asked in their order'),
  extension_filter: refused('write the other filters'),
  metadata_filter: refused('remove it: there is no metadata of calls'),
  log_type_filter: refused('remove it: a call has one line, at its end'),
} as const;

type FilterFields = Omit<typeof filterFields, 'and_filter' | 'or_filter'>;
/** What was read of one filter; written down since it holds itself. */
export interface FilterGroup {
  readonly place: Place;
  readonly values: Group<FilterFields>['values'] & {
    readonly and_filter?: { readonly values: { readonly filters?: readonly FilterGroup[] | undefined } } | undefined;
    readonly or_filter?: { readonly values: { readonly filters?: readonly FilterGroup[] | undefined } } | undefined;
  };
  wrote(key: keyof typeof filterFields): boolean;
}

const kinds = Object.entries(filterFields).flatMap(([key, { kind }]) => (kind === 'field' ? [key as keyof typeof filterFields] : []));

export const accessLogFilterShape: Shape<FilterGroup> & Pick<GroupShape<typeof filterFields>, 'name'> = group(
  'access_log_filter',
  `a group with one of ${kinds.join(', ')}`,
  filterFields,
  homeOf,
);

/** @returns `undefined` where it is wrong; why is then among `problems`. */
export const compileAccessLogFilter = (written: FilterGroup, problems: Problems): AccessLogFilter | undefined => {
  const { values } = written;
  const chosen = kinds.filter((kind) => written.wrote(kind));
  if (chosen.length !== 1) {
    if (chosen.length === 0) problems.error(written.place, 'is no filter', `write one of ${kinds.join(', ')}`);
    else problems.error(written.place, `has ${chosen.length} filters (${chosen.join(', ')})`, 'put them into and_filter or or_filter');
    return undefined;
  }
  if (values.status_code_filter !== undefined) return comparisonOf('status_code', values.status_code_filter);
  if (values.duration_filter !== undefined) return comparisonOf('duration', values.duration_filter);
  if (values.grpc_status_filter !== undefined) {
    const { statuses = [], exclude = false } = values.grpc_status_filter.values;
    return { kind: 'grpc_status', statuses: statuses.map((name) => statusOfName(name) as number), exclude };
  }
  if (values.response_flag_filter !== undefined) return { kind: 'response_flag', flags: values.response_flag_filter.values.flags ?? [] };
  if (values.runtime_filter !== undefined) return runtimeOf(values.runtime_filter.values);
  if (values.not_health_check_filter !== undefined) return { kind: 'not_health_check' };
  if (values.traceable_filter !== undefined) return { kind: 'traceable' };
  if (values.header_filter?.values.header !== undefined) {
    const header = compileHeaderMatcher(values.header_filter.values.header, problems);
    return header === undefined ? undefined : { kind: 'header', header: header.matcher };
  }
  const several = values.and_filter ?? values.or_filter;
  if (several?.values.filters === undefined) return undefined;
  const filters = several.values.filters.map((one) => compileAccessLogFilter(one, problems)).filter((one) => one !== undefined);
  return { kind: values.and_filter === undefined ? 'or' : 'and', filters };
};

const comparisonOf = (kind: 'status_code' | 'duration', { values }: Read<typeof comparisonShape>): AccessLogFilter | undefined => {
  const { op = 'EQ', value } = values.comparison?.values ?? {};
  const wanted = value?.values.default_value;
  return wanted === undefined ? undefined : { kind, op: op satisfies AccessLogComparison, value: wanted };
};

const denominators = { HUNDRED: 100, TEN_THOUSAND: 10_000, MILLION: 1_000_000 } as const;

const runtimeOf = (values: NonNullable<Group<FilterFields>['values']['runtime_filter']>['values']): AccessLogFilter => {
  const { percent_sampled: percent = 0, use_independent_randomness: independent = false } = values;
  if (typeof percent === 'number') return { kind: 'runtime', numerator: Math.round(percent * 10_000), denominator: 1_000_000, independent };
  const { numerator = 0, denominator = 'HUNDRED' } = percent.values;
  return { kind: 'runtime', numerator, denominator: denominators[denominator], independent };
};
