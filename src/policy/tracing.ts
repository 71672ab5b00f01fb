import { percentShape, shareOf } from './fractional-percent.ts';
import { field, group, refused } from './group.ts';
import { homeOf } from './homes.ts';
import type { Read } from './shape.ts';
import type { TracingPolicy } from './traffic-types.ts';

/** Envoy's `Tracing` of a route. */
export const tracingShape = group(
  'tracing',
  'a group with one of client_sampling, random_sampling, overall_sampling',
  {
    client_sampling: field(percentShape, 'Of the calls whose caller wants them recorded, how many are; 100 where left out'),
    random_sampling: field(
      percentShape,
      'Of the calls of whose recording nobody has said anything, how many are recorded; as OTEL_TRACES_SAMPLER says where left out',
    ),
    overall_sampling: field(percentShape, 'Of what the two let through, how many; 0: none, not even those that fail; 100 where left out'),
    custom_tags: refused('remove it: spans have the attributes that docs/tracing.md lists'),
    operation: refused('remove it: a span is named after the method'),
    upstream_operation: refused('remove it: a span is named after the method'),
  },
  homeOf,
);

/** `undefined` where nothing is written. */
export const compileTracing = (written: Read<typeof tracingShape> | undefined): TracingPolicy | undefined => {
  if (written === undefined) return undefined;
  const { client_sampling: client, overall_sampling: overall, random_sampling: random } = written.values;
  return Object.freeze({
    clientShare: shareOf(client, 1),
    randomShare: random === undefined ? undefined : shareOf(random, 1),
    overallShare: shareOf(overall, 1),
  });
};
