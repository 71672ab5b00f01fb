import { field, group, required } from './group.ts';
import { homeOf } from './homes.ts';
import type { Place, Problems } from './problems.ts';
import { flag, list, type Placed, placed, type Read, text, word } from './shape.ts';
import type { AppendAction, HeaderAddition, HeaderChanges, HeaderValuePart } from './traffic-types.ts';

const nameText = text('the name of a header', { pattern: /^:?[!#$%&'*+.^_`|~0-9A-Za-z-]+$/ });
const valueText = text('text without line breaks', { pattern: /^[\t\x20-\x7e\x80-\xff]*$/, mayBeEmpty: true });
const appendActions = ['APPEND_IF_EXISTS_OR_ADD', 'ADD_IF_ABSENT', 'OVERWRITE_IF_EXISTS_OR_ADD', 'OVERWRITE_IF_EXISTS'] as const;

/** Envoy's `HeaderValueOption`. */
const additionShape = group(
  'header_value_option',
  'a group with "header:"',
  {
    header: required(
      group(
        'header_value',
        'a group with "key:" and "value:"',
        {
          key: required(placed(nameText), 'Name of the header'),
          value: required(placed(valueText), 'Its value; %REQ(name)%, %UPSTREAM_CLUSTER% and their like stand for what the call has'),
        },
        homeOf,
      ),
      'What is added',
    ),
    append_action: field(word(appendActions), 'What happens where the header is there; APPEND_IF_EXISTS_OR_ADD where left out'),
    append: field(placed(flag), "Envoy's older name: true appends, false overwrites"),
    keep_empty_value: field(flag, 'Whether a header is added whose value is empty'),
  },
  homeOf,
);

export const headersToAdd = list(additionShape);
export const headersToRemove = list(placed(nameText));

/** The four keys, wherever Envoy has them. */
export const headerChangeFields = {
  request_headers_to_add: field(headersToAdd, 'Headers that the service gets beside those of the request'),
  request_headers_to_remove: field(headersToRemove, 'Headers of the request that the service does not get'),
  response_headers_to_add: field(headersToAdd, 'Headers that the caller gets beside those of the answer'),
  response_headers_to_remove: field(headersToRemove, 'Headers of the answer that the caller does not get'),
} as const;

const reserved = 'te host connection keep-alive proxy-connection transfer-encoding upgrade content-type content-length'.split(' ');
const longestValue = 16_384;

/** Why this header is not a policy's to change. */
const untouchable = (name: string): string | undefined => {
  if (name.startsWith(':')) return 'is a pseudo-header, which says where the call goes';
  if (name.startsWith('grpc-')) return 'belongs to gRPC';
  if (reserved.includes(name)) return 'belongs to the connection, or to gRPC';
  if (name === 'x-forwarded-client-cert' || name.startsWith('x-outrider-')) return 'is written by the sidecar alone';
  return undefined;
};

const checkName = ({ value, place }: Placed<string>, problems: Problems): string => {
  const name = value.toLowerCase();
  const why = untouchable(name);
  if (why !== undefined) problems.error(place, `${name} ${why}`, 'remove it');
  return name;
};

/** @param written of one side: what is added and what is removed. */
export const compileHeaderChanges = (
  added: Read<typeof headersToAdd> | undefined,
  removed: Read<typeof headersToRemove> | undefined,
  problems: Problems,
): HeaderChanges | undefined => {
  const add = (added ?? []).map((one) => compileAddition(one, problems)).filter((one) => one !== undefined);
  const remove = (removed ?? []).map((name) => checkName(name, problems));
  if (add.length === 0 && remove.length === 0) return undefined;
  return Object.freeze({ add: Object.freeze(add), remove: Object.freeze(remove) });
};

const compileAddition = (written: Read<typeof additionShape>, problems: Problems): HeaderAddition | undefined => {
  const { header, append_action: action, append, keep_empty_value: keepEmpty = false } = written.values;
  if (action !== undefined && append !== undefined) problems.error(append.place, 'is written beside append_action', 'remove it');
  const key = header?.values.key;
  const value = header?.values.value;
  if (key === undefined || value === undefined) return undefined;
  const name = checkName(key, problems);
  if (value.value.length > longestValue) problems.error(value.place, `is longer than ${longestValue} characters`, 'write less');
  if (value.value !== value.value.trim()) problems.error(value.place, 'begins or ends with a blank', 'write it without');
  const parts = parseValue(value.value, value.place, problems);
  const plain = parts.length === 1 && parts[0]?.kind === 'text' ? parts[0].text : undefined;
  if (name.endsWith('-bin') && plain !== undefined && !/^[A-Za-z0-9+/]*={0,2}$/.test(plain))
    problems.error(value.place, 'is not base64, which the value of a -bin header must be', 'encode it, or choose another name');
  if (value.value === '' && !keepEmpty) problems.warning(value.place, 'is empty: nothing is added', 'write keep_empty_value: true');
  const byAppend: AppendAction | undefined =
    append === undefined ? undefined : append.value ? 'APPEND_IF_EXISTS_OR_ADD' : 'OVERWRITE_IF_EXISTS_OR_ADD';
  return Object.freeze({ name, value: Object.freeze(parts), action: action ?? byAppend ?? 'APPEND_IF_EXISTS_OR_ADD', keepEmpty });
};

const commands: Readonly<Record<string, HeaderValuePart>> = {
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: { kind: 'remote_address' },
  DOWNSTREAM_PEER_URI_SAN: { kind: 'peer_uri_san' },
  UPSTREAM_CLUSTER: { kind: 'cluster' },
  ROUTE_NAME: { kind: 'route' },
};

/** Envoy's command operators, those of them that a header of a call can need; `%%` is a per cent sign. */
const parseValue = (written: string, place: Place, problems: Problems): HeaderValuePart[] => {
  const parts: HeaderValuePart[] = [];
  const addText = (text: string): void => {
    const last = parts.at(-1);
    if (last?.kind === 'text') parts[parts.length - 1] = { kind: 'text', text: last.text + text };
    else if (text !== '') parts.push({ kind: 'text', text });
  };
  let from = 0;
  for (const match of written.matchAll(/%([^%]*)(%?)/g)) {
    addText(written.slice(from, match.index));
    from = match.index + match[0].length;
    const [, command = '', closed] = match;
    const request = /^REQ\(([^()?]+)(?:\?([^()?]+))?\)(?::(\d{1,5}))?$/.exec(command);
    const known = Object.hasOwn(commands, command) ? commands[command] : undefined;
    if (closed === '') problems.error(place, 'has a single per cent sign', 'write %% for a per cent sign');
    else if (command === '') addText('%');
    else if (request?.[1] !== undefined) {
      const longest = request[3] === undefined ? Number.POSITIVE_INFINITY : Number(request[3]);
      parts.push({ kind: 'request_header', name: request[1].toLowerCase(), otherwise: request[2]?.toLowerCase(), longest });
    } else if (known !== undefined) parts.push(known);
    else {
      const all = ['%REQ(name)%', ...Object.keys(commands).map((name) => `%${name}%`)].join(', ');
      problems.error(place, `%${command.slice(0, 60)}% is no operator here`, `write one of ${all}, or %% for a per cent sign`);
    }
  }
  addText(written.slice(from));
  return parts;
};
