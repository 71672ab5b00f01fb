import { field, group, required } from './group.ts';
import { homeOf } from './homes.ts';
import type { Problems } from './problems.ts';
import { list, placed, type Read, text, word } from './shape.ts';

/** Who may call the local service. */
export interface AccessPolicy {
  /** Tried in their order; the first that names the caller counts. */
  readonly rules: readonly AccessRule[];
  /** For callers that no rule names. */
  readonly defaultAction: 'allow' | 'deny';
}

export interface AccessRule {
  /** The name of a service, a SPIFFE id, or `*` for everybody, also for who shows no certificate. */
  readonly from: string;
  readonly action: 'allow' | 'deny';
}

const action = word(['allow', 'deny'], { ALLOW: 'allow', DENY: 'deny' });

/** `inbound.access`. */
export const accessShape = group(
  'access',
  'a group with "rules:"',
  {
    rules: field(
      list(
        group(
          'access_rule',
          'a group such as { from: shop-svc, action: allow }',
          {
            from: required(
              placed(text('the name of a service, a spiffe:// URI, or "*"')),
              'Who calls: the name of a service, a SPIFFE id, or "*" for everybody',
            ),
            action: required(action, 'allow or deny'),
          },
          homeOf,
        ),
      ),
      'Tried in their order; the first one that names the caller counts',
    ),
    default: field(action, 'For callers that no rule names; deny where left out'),
  },
  homeOf,
);

export const compileAccess = ({ values }: Read<typeof accessShape>, problems: Problems): AccessPolicy => {
  const seen = new Map<string, number>();
  const rules = (values.rules ?? []).flatMap(({ values: rule }): AccessRule[] => {
    const { from } = rule;
    if (from === undefined || rule.action === undefined) return [];
    if (!/^(\*|spiffe:\/\/[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*|[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?)$/.test(from.value)) {
      problems.error(from.place, `${JSON.stringify(from.value)} names nobody`, 'write the name of a service, a spiffe:// URI, or "*"');
      return [];
    }
    const earlier = seen.get(from.value) ?? seen.get('*');
    if (earlier !== undefined)
      problems.warning(from.place, `can never count: the rule in line ${earlier} comes first`, 'remove it, or move it up');
    else seen.set(from.value, from.place.location.line);
    return [Object.freeze({ from: from.value, action: rule.action })];
  });
  return Object.freeze({ rules: Object.freeze(rules), defaultAction: values.default ?? 'deny' });
};
