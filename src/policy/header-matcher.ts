import { RE2JS, RE2JSException } from 're2js';
import type { headerMatchShape, regexShape } from './header-match-schema.ts';
import type { Problems } from './problems.ts';
import type { Placed, Read } from './shape.ts';
import type { HeaderMatcher } from './types.ts';

type HeaderMatchGroup = Read<typeof headerMatchShape>;
type RegexValue = Read<typeof regexShape>;

const longestRegex = 2_000;

/** A matcher, and what tells equal ones apart from others. */
export interface CompiledHeaderMatcher {
  readonly matcher: HeaderMatcher;
  readonly key: string;
}

/** The text of a `safe_regex`, written short or long. */
export const regexText = (written: RegexValue): Placed<string> | undefined => ('values' in written ? written.values.regex : written);

/** @returns `undefined` where it is none; why is then among `problems`. */
export const compileRegex = (written: RegexValue, problems: Problems): RE2JS | undefined => {
  const text = regexText(written);
  if (text === undefined) return undefined;
  const { value: regex, place } = text;
  if (regex.length > longestRegex) {
    problems.error(place, `is longer than ${longestRegex} characters`, 'write several routes');
    return undefined;
  }
  try {
    return RE2JS.compile(regex);
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    const why = error.message.replace(/^error parsing regexp: /, '');
    problems.error(place, `is no regular expression: ${why}`, 'write RE2 syntax, which has no look-around and no back-references');
    return undefined;
  }
};

const conditions = [
  'exact_match',
  'prefix_match',
  'suffix_match',
  'contains_match',
  'safe_regex_match',
  'range_match',
  'present_match',
  'string_match',
] as const;
const stringConditions = ['exact', 'prefix', 'suffix', 'contains', 'safe_regex'] as const;

/** Accepts a value that is there. */
type Test = (value: string) => boolean;

/**
 * Envoy's `HeaderMatcher`: at most one condition, none means that the header is there. A missing header meets no condition on
 * its value, also no inverted one, unless it is to be treated as empty.
 */
export const compileHeaderMatcher = (written: HeaderMatchGroup, problems: Problems): CompiledHeaderMatcher | undefined => {
  const { values } = written;
  const chosen = conditions.filter((condition) => written.wrote(condition));
  if (chosen.length > 1)
    problems.error(
      written.place,
      `has ${chosen.length} conditions (${chosen.join(', ')})`,
      'keep one of them, or write one list item for each',
    );
  if (values.name === undefined || chosen.length > 1) return undefined;

  const name = values.name.toLowerCase();
  const inverted = values.invert_match ?? false;
  const emptyWhenMissing = values.treat_missing_header_as_empty ?? false;
  if (chosen.length === 0 || chosen[0] === 'present_match') {
    const present = values.present_match ?? true;
    const wanted = present !== inverted;
    return { matcher: { name, matches: (value) => (value !== undefined) === wanted }, key: `${name} present ${wanted}` };
  }
  const test = compileTest(written, problems);
  if (test === undefined) return undefined;
  const matches = (value: string | undefined): boolean => {
    if (value === undefined && !emptyWhenMissing) return false;
    return test.accepts(value ?? '') !== inverted;
  };
  return { matcher: { name, matches }, key: `${name} ${test.key} ${inverted} ${emptyWhenMissing}` };
};

const compileTest = ({ values }: HeaderMatchGroup, problems: Problems): { accepts: Test; key: string } | undefined => {
  if (values.exact_match !== undefined) return textTest('exact', values.exact_match);
  if (values.prefix_match !== undefined) return textTest('prefix', values.prefix_match);
  if (values.suffix_match !== undefined) return textTest('suffix', values.suffix_match);
  if (values.contains_match !== undefined) return textTest('contains', values.contains_match);
  if (values.safe_regex_match !== undefined) return regexTest(values.safe_regex_match, problems);
  if (values.range_match !== undefined) return rangeTest(values.range_match, problems);
  if (values.string_match === undefined) return undefined;

  const match = values.string_match;
  const chosen = stringConditions.filter((condition) => match.wrote(condition));
  if (chosen.length !== 1) {
    problems.error(
      match.place,
      chosen.length === 0 ? 'has no condition' : `has ${chosen.length} conditions (${chosen.join(', ')})`,
      `keep one of ${stringConditions.join(', ')}`,
    );
    return undefined;
  }
  const ignoreCase = match.values.ignore_case ?? false;
  const [kind] = chosen;
  if (kind === 'safe_regex') {
    if (ignoreCase) problems.error(match.placeOf('ignore_case'), 'is not for safe_regex', 'write (?i) at the beginning of the expression');
    return match.values.safe_regex === undefined ? undefined : regexTest(match.values.safe_regex, problems);
  }
  const operand = kind === undefined ? undefined : match.values[kind];
  if (kind === undefined || operand === undefined) return undefined;
  if (!ignoreCase) return textTest(kind, operand);
  const { accepts, key } = textTest(kind, operand.toLowerCase());
  return { accepts: (value) => accepts(value.toLowerCase()), key: `${key} ignoring case` };
};

const textTest = (kind: 'exact' | 'prefix' | 'suffix' | 'contains', operand: string): { accepts: Test; key: string } => {
  const tests: Record<typeof kind, Test> = {
    exact: (value) => value === operand,
    prefix: (value) => value.startsWith(operand),
    suffix: (value) => value.endsWith(operand),
    contains: (value) => value.includes(operand),
  };
  return { accepts: tests[kind], key: `${kind} ${JSON.stringify(operand)}` };
};

const regexTest = (written: RegexValue, problems: Problems): { accepts: Test; key: string } | undefined => {
  const regex = compileRegex(written, problems);
  return regex === undefined ? undefined : { accepts: (value) => regex.matches(value), key: `regex ${JSON.stringify(regex.pattern())}` };
};

const rangeTest = (
  range: NonNullable<HeaderMatchGroup['values']['range_match']>,
  problems: Problems,
): { accepts: Test; key: string } | undefined => {
  const { start, end } = range.values;
  if (start === undefined || end === undefined) return undefined;
  if (end <= start)
    problems.error(range.place, `from ${start} up to, but not including, ${end} holds no number`, 'write an end above the start');
  const accepts = (value: string): boolean => {
    if (!/^\s*[+-]?\d+\s*$/.test(value)) return false;
    const number = Number(value);
    return number >= start && number < end;
  };
  return { accepts, key: `range ${start} ${end}` };
};
