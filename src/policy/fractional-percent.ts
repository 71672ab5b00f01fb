import { field, group, inert, refused, required } from './group.ts';
import { homeOf } from './homes.ts';
import { either, number, type Read, text, word } from './shape.ts';

const denominators = { HUNDRED: 100, TEN_THOUSAND: 10_000, MILLION: 1_000_000 } as const;

/** Envoy's `FractionalPercent`, or a number of per cent. */
export const percentShape = either(
  'scalar',
  number({ min: 0, max: 100, integer: false }),
  group(
    'fractional_percent',
    'a group with "numerator:"',
    {
      numerator: required(number({ min: 0, max: 1_000_000, integer: true }), 'How many'),
      denominator: field(word(['HUNDRED', 'TEN_THOUSAND', 'MILLION']), 'Of how many; HUNDRED where left out'),
      value: refused('write numerator'),
    },
    homeOf,
  ),
);

/** From 0 to 1, also where more of something is written than there is. */
export const shareOf = (written: Read<typeof percentShape> | undefined, otherwise: number): number => {
  if (written === undefined) return otherwise;
  if (typeof written === 'number') return written / 100;
  const { numerator = 0, denominator = 'HUNDRED' } = written.values;
  return Math.min(numerator / denominators[denominator], 1);
};

export const isMoreThanAll = (written: Read<typeof percentShape> | undefined): boolean =>
  typeof written === 'object' && (written.values.numerator ?? 0) > denominators[written.values.denominator ?? 'HUNDRED'];

/** Envoy's `RuntimeFractionalPercent`, whose runtime does not exist here. */
export const runtimeFractionShape = group(
  'runtime_fraction',
  'a group with "default_value:"',
  {
    default_value: required(percentShape, 'Share of the calls'),
    runtime_key: inert(text('a name'), 'remove it: there is no runtime; change the file'),
  },
  homeOf,
);

export const runtimeShareOf = (written: Read<typeof runtimeFractionShape> | undefined, otherwise: number): number =>
  written === undefined ? otherwise : shareOf(written.values.default_value, otherwise);
