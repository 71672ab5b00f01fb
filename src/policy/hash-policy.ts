import { field, group, refused, required } from './group.ts';
import { homeOf } from './homes.ts';
import type { Problems } from './problems.ts';
import { duration, flag, list, placed, type Read, text } from './shape.ts';
import type { HashPolicy } from './types.ts';

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const cookieText = text('text without blanks, quotes, commas and semicolons', {
  pattern: /^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*$/,
  mayBeEmpty: true,
});

const sources = ['header', 'cookie', 'connection_properties'] as const;

/** Envoy's `HashPolicy`. */
export const hashPolicyShape = placed(
  group(
    'hash_policy',
    'a group with one of header, cookie, connection_properties',
    {
      header: field(
        group(
          'hash_header',
          'a group with "header_name:"',
          {
            header_name: required(
              text('the name of a header', { pattern: /^:?[!#$%&'*+.^_`|~0-9A-Za-z-]+$/ }),
              'Calls with the same value stick together',
            ),
            regex_rewrite: refused('remove it: the whole value counts'),
          },
          homeOf,
        ),
        'By the value of a header',
      ),
      cookie: field(
        group(
          'hash_cookie',
          'a group with "name:"',
          {
            name: required(text('the name of a cookie', { pattern: token }), 'Calls with the same value stick together'),
            ttl: field(
              duration({ example: '1h' }),
              'A caller without the cookie is given one for so long, 0s for its session; where left out none is made',
            ),
            path: field(cookieText, 'Path of the cookie that is made'),
            attributes: field(
              list(
                group(
                  'cookie_attribute',
                  'a group with "name:"',
                  { name: required(text('a name such as SameSite', { pattern: token }), 'Name'), value: field(cookieText, 'Value') },
                  homeOf,
                ),
              ),
              'Further attributes of the cookie that is made',
            ),
          },
          homeOf,
        ),
        'By the value of a cookie',
      ),
      connection_properties: field(
        group(
          'hash_connection',
          'a group with "source_ip:"',
          { source_ip: required(placed(flag), 'By the address of the caller') },
          homeOf,
        ),
        "By the caller's connection",
      ),
      terminal: field(flag, 'Where this one gave a hash, those after it are not looked at'),
      query_parameter: refused('remove it: paths of gRPC have no query'),
      filter_state: refused('write header, cookie or connection_properties'),
    },
    homeOf,
  ),
);

export const hashPoliciesShape = list(hashPolicyShape);

export const compileHashPolicies = (written: Read<typeof hashPoliciesShape> | undefined, problems: Problems): readonly HashPolicy[] =>
  Object.freeze(
    (written ?? []).flatMap(({ value, place }): readonly HashPolicy[] => {
      const { header, cookie, connection_properties: connection, terminal = false } = value.values;
      const kinds = sources.filter((source) => value.wrote(source));
      if (kinds.length !== 1) {
        const message = kinds.length === 0 ? 'has no header, cookie or connection_properties' : `has ${kinds.join(' and ')}`;
        problems.error(place, message, kinds.length === 0 ? 'add one of them' : 'write one list item for each');
        return [];
      }
      if (header?.values.header_name !== undefined) return [{ kind: 'header', name: header.values.header_name.toLowerCase(), terminal }];
      if (cookie?.values.name !== undefined) {
        const { name, ttl, path = '', attributes = [] } = cookie.values;
        const ending = [
          ...(ttl !== undefined && ttl >= 1_000 ? [`Max-Age=${Math.floor(ttl / 1_000)}`] : []),
          ...(path === '' ? [] : [`Path=${path}`]),
          ...attributes.map(({ values }) =>
            values.value === undefined || values.value === '' ? `${values.name}` : `${values.name}=${values.value}`,
          ),
          'HttpOnly',
        ];
        return [{ kind: 'cookie', name, making: ttl === undefined ? undefined : ending.join('; '), terminal }];
      }
      const sourceIp = connection?.values.source_ip;
      if (sourceIp?.value === false)
        problems.error(sourceIp.place, 'is false: then there is nothing to hash', 'write true, or remove the list item');
      return sourceIp?.value === true ? [{ kind: 'source_ip', terminal }] : [];
    }),
  );
