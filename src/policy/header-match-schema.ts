import { field, group, required } from './group.ts';
import { homeOf } from './homes.ts';
import { either, flag, number, placed, text } from './shape.ts';

const regexText = placed(text('a regular expression (RE2) such as /acme\\.Billing/.*'));

export const regexShape = either(
  'scalar',
  regexText,
  group(
    'safe_regex',
    'a group with "regex:"',
    {
      regex: required(regexText, 'Regular expression in RE2 syntax; it must match the whole value'),
      google_re2: field(group('google_re2', '{}', {}, homeOf), 'The only engine there is'),
    },
    homeOf,
  ),
);

const stringMatchShape = group(
  'string_match',
  'a group with one of exact, prefix, suffix, contains, safe_regex',
  {
    exact: field(text('text', { mayBeEmpty: true }), 'The value is exactly this'),
    prefix: field(text('text'), 'The value starts with this'),
    suffix: field(text('text'), 'The value ends with this'),
    contains: field(text('text'), 'The value contains this'),
    safe_regex: field(regexShape, 'The whole value matches this'),
    ignore_case: field(flag, 'Upper and lower case are the same; not for safe_regex'),
  },
  homeOf,
);

const wholeNumber = number({ min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER, integer: true });

export const headerMatchShape = group(
  'header_match',
  'a group with "name:" and one condition such as exact_match',
  {
    name: required(
      text('the name of a header', { pattern: /^:?[!#$%&'*+.^_`|~0-9A-Za-z-]+$/ }),
      'Name of the header, or a pseudo-header such as :authority',
    ),
    exact_match: field(text('text, not empty (present_match asks for a header)'), 'The value is exactly this'),
    prefix_match: field(text('text'), 'The value starts with this'),
    suffix_match: field(text('text'), 'The value ends with this'),
    contains_match: field(text('text'), 'The value contains this'),
    safe_regex_match: field(regexShape, 'The whole value matches this'),
    range_match: field(
      group(
        'range_match',
        'a group with "start:" and "end:"',
        { start: required(wholeNumber, 'The least number'), end: required(wholeNumber, 'One more than the greatest number') },
        homeOf,
      ),
      'The value is a whole number from start up to, but not including, end',
    ),
    present_match: field(flag, 'The header is there (true), or is not (false)'),
    string_match: field(stringMatchShape, 'The value matches'),
    invert_match: field(flag, 'The condition must not hold; a missing header still does not match, except by present_match'),
    treat_missing_header_as_empty: field(flag, 'A missing header counts as an empty value'),
  },
  homeOf,
);
