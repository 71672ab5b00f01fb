import { suggest } from '../core/index.ts';
import { type AccessLogOperatorName, accessLogOperators, foreignOperators } from './access-log-names.ts';
import type { AccessLogField, AccessLogFormat, AccessLogOperator, AccessLogPart, AccessLogValue } from './access-log-types.ts';
import type { DocumentNode } from './document.ts';
import type { Place, Problems } from './problems.ts';
import { placeOf, refuseKind, type Shape } from './shape.ts';

const mostFields = 200;
const longestText = 16_384;
const operatorNames = Object.keys(accessLogOperators);
const headerName = /^:?[!#$&'*+.^_`|~0-9A-Za-z-]+$/;
/** What of an answer is known when its call has ended. */
const answerHeaders = ['grpc-status', 'grpc-message', ':status', 'x-outrider-reason'];
/** Headers that whoever reads them can pass for the caller with. */
const credentials = ['authorization', 'proxy-authorization', 'cookie', 'x-api-key', 'x-forwarded-client-cert'];
const statusForms = ['CAMEL_STRING', 'SNAKE_STRING', 'NUMBER'];

/** A dictionary of a line's fields, each text with operators, a constant, or such a dictionary or list again: Envoy's `json_format`. */
export const jsonFormatShape: Shape<{ readonly fields: readonly AccessLogField[]; readonly place: Place }> = {
  expected: 'a group such as { path: "%REQ(:PATH)%" }',
  read(node, path, problems) {
    if (node.kind !== 'map') return refuseKind(node, path, this.expected, problems);
    const budget = { fields: 0 };
    const fields = readFields(node, path, problems, budget);
    const place = placeOf(node, path);
    if (budget.fields > mostFields) problems.error(place, `has ${budget.fields} fields`, `write at most ${mostFields}`);
    if (fields.length === 0) problems.error(place, 'has no fields', `write ${this.expected}`);
    return { fields, place };
  },
  jsonSchema: () => ({ type: 'object', minProperties: 1 }),
};

/** A line as text with operators: Envoy's `text_format`. */
export const textFormatShape: Shape<readonly AccessLogPart[]> = {
  expected: 'text such as "%START_TIME% %REQ(:PATH)%"',
  read(node, path, problems) {
    if (node.kind !== 'scalar' || typeof node.value !== 'string' || node.value === '')
      return refuseKind(node, path, this.expected, problems);
    const place = placeOf(node, path);
    const line = node.value.replace(/\r?\n$/, '');
    if (/[\r\n]/.test(line)) problems.error(place, 'has several lines', 'write one: a call has one line');
    return parseText(line, place, problems);
  },
  jsonSchema: () => ({ type: 'string', minLength: 1 }),
};

const readFields = (node: DocumentNode, path: string, problems: Problems, budget: { fields: number }): readonly AccessLogField[] => {
  if (node.kind !== 'map') return [];
  return node.entries.map(({ key, value }) => ({ key, value: readValue(value, `${path}.${key}`, problems, budget) }));
};

const readValue = (node: DocumentNode, path: string, problems: Problems, budget: { fields: number }): AccessLogValue => {
  budget.fields++;
  if (node.kind === 'map') return { kind: 'object', fields: readFields(node, path, problems, budget) };
  if (node.kind === 'list')
    return { kind: 'list', values: node.items.map((item, i) => readValue(item, `${path}[${i}]`, problems, budget)) };
  if (typeof node.value !== 'string') return { kind: 'constant', value: node.value };
  const parts = parseText(node.value, placeOf(node, path), problems);
  const [only, second] = parts;
  if (only === undefined) return { kind: 'constant', value: '' };
  if (second !== undefined) return { kind: 'text', parts };
  return typeof only === 'string' ? { kind: 'constant', value: only } : { kind: 'operator', operator: only };
};

/** `%NAME%`, `%NAME(argument)%`, `%NAME(argument):12%`; `%%` is a per cent sign. */
const operatorPattern = /%(?:%|([A-Za-z_0-9]*)(?:\(([^()]*)\))?(?::(\d{1,5}))?(%)?)/g;

const parseText = (written: string, place: Place, problems: Problems): readonly AccessLogPart[] => {
  const parts: AccessLogPart[] = [];
  const addText = (text: string): void => {
    const last = parts.at(-1);
    if (typeof last === 'string') parts[parts.length - 1] = last + text;
    else if (text !== '') parts.push(text);
  };
  if (written.length > longestText) problems.error(place, `is longer than ${longestText} characters`, 'write less');
  let from = 0;
  for (const match of written.matchAll(operatorPattern)) {
    addText(written.slice(from, match.index));
    from = match.index + match[0].length;
    const [whole, name = '', argument, most, closed] = match;
    if (whole === '%%') addText('%');
    else if (closed === undefined)
      problems.error(place, `${show(whole)} does not end with a per cent sign`, 'close it, or write %% for a per cent sign');
    else {
      const operator = readOperator(name, argument, most, place, problems);
      if (operator !== undefined) parts.push(operator);
    }
  }
  addText(written.slice(from));
  return Object.freeze(parts);
};

const show = (text: string): string => (text.length > 60 ? `${text.slice(0, 60)}...` : text);

const readOperator = (
  name: string,
  argument: string | undefined,
  most: string | undefined,
  place: Place,
  problems: Problems,
): AccessLogOperator | undefined => {
  if (!isOperator(name)) {
    const remedy = Object.hasOwn(foreignOperators, name) ? foreignOperators[name] : undefined;
    const meant = name.length > 60 ? undefined : suggest(name, operatorNames);
    if (remedy !== undefined) problems.error(place, `%${name}% is not known here`, remedy);
    else
      problems.error(
        place,
        `%${show(name)}% is no operator`,
        meant === undefined ? 'write one of docs/access-log.md, or %% for a per cent sign' : `did you mean %${meant}%?`,
      );
    return undefined;
  }
  const limit = most === undefined ? {} : { mostCharacters: Number(most) };
  switch (accessLogOperators[name]) {
    case 'headers':
      return readHeaders(name, argument, limit, place, problems);
    case 'time':
      if (argument === undefined || argument === '') return { name, ...limit };
      return isTimeForm(argument, place, problems) ? { name, form: argument, ...limit } : undefined;
    case 'status':
      if (argument === undefined || argument === '') return { name, ...limit };
      if (statusForms.includes(argument)) return { name, form: argument, ...limit };
      problems.error(place, `${show(argument)} is no form of a status`, `write one of ${statusForms.join(', ')}`);
      return undefined;
    case 'blanks':
      if (argument === undefined || argument === 'ALLOW_WHITESPACES') return { name, ...limit };
      break;
    case 'nothing':
      if (argument === undefined) return { name, ...limit };
  }
  problems.error(place, `%${name}% takes nothing in parentheses`, `write %${name}%`);
  return undefined;
};

const isOperator = (name: string): name is AccessLogOperatorName => Object.hasOwn(accessLogOperators, name);

const readHeaders = (
  name: AccessLogOperatorName,
  argument: string | undefined,
  limit: { readonly mostCharacters?: number },
  place: Place,
  problems: Problems,
): AccessLogOperator | undefined => {
  const [header, otherHeader, third] = (argument ?? '').toLowerCase().split('?');
  const names = [header, otherHeader].filter((one) => one !== undefined);
  if (header === undefined || third !== undefined || names.some((one) => !headerName.test(one))) {
    problems.error(place, `%${name}% does not name a header`, `write %${name}(x-request-id)%, or two names with ? between them`);
    return undefined;
  }
  const ofRequest = name === 'REQ' || name === 'REQUEST_HEADER';
  if (!ofRequest && !names.some((one) => answerHeaders.includes(one)))
    problems.warning(
      place,
      `${names.join(' and ')} of the answer is always empty`,
      `remove it: of answers there are ${answerHeaders.join(', ')}`,
    );
  const secret = ofRequest ? names.find((one) => credentials.includes(one)) : undefined;
  if (secret !== undefined)
    problems.warning(place, `writes ${secret} into the log, where whoever reads it can pass for the caller`, `remove %${name}(${secret})%`);
  return { name, header, ...(otherHeader === undefined ? {} : { otherHeader }), ...limit };
};

/** The specifiers of `strftime` that mean the same in every place, and Envoy's for fractions of a second. */
const timeForm = /^(?:[^%]|%(?:[YmdHMSsfTFDeyjzZabBhIp%]|[1-9]f))*$/;

const isTimeForm = (form: string, place: Place, problems: Problems): boolean => {
  if (timeForm.test(form)) return true;
  const wrong = /%(?![YmdHMSsfTFDeyjzZabBhIp%]|[1-9]f).?/.exec(form)?.[0] ?? form;
  problems.error(place, `${wrong} is no part of a time`, 'write one of %Y %m %d %H %M %S %3f %s %T %F %z');
  return false;
};

/** @param omitEmpty leaves fields without a value out; in text they are empty in the place of `-`. */
export const jsonFormat = (fields: readonly AccessLogField[], omitEmpty: boolean): AccessLogFormat => ({ kind: 'json', fields, omitEmpty });
export const textFormat = (parts: readonly AccessLogPart[], omitEmpty: boolean): AccessLogFormat => ({ kind: 'text', parts, omitEmpty });
