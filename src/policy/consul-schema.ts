import { field, group } from './group.ts';
import { homeOf } from './homes.ts';
import { count, duration, either, flag, list, placed, text } from './shape.ts';

const name = (what: string) => placed(text(what));

/** Endpoints by Consul's catalogue: `consul`. */
export const consulShape = group(
  'consul_discovery',
  'a group such as { service: learner-svc }',
  {
    service: field(
      name('the name of a service'),
      'Name in the catalogue and in certificates; service_name, else the name of the cluster, where left out',
    ),
    prepared_query: field(name('the name or id of a prepared query'), 'Prepared query that is asked every 5s, in the place of a service'),
    tag: field(
      either('scalar', name('a tag'), list(name('a tag'), { minItems: 1 })),
      'Tag that instances must have; of several all of them',
    ),
    filter: field(
      text('an expression such as \'Service.Meta.tier == "gold"\''),
      "Expression in Consul's language that instances must fulfil",
    ),
    datacenter: field(
      either('scalar', name('a datacenter'), list(name('a datacenter'), { minItems: 1 })),
      "Datacenter; of several the first takes the calls as long as it can carry them, then the next. The agent's own where left out",
    ),
    failover: field(
      list(
        group(
          'consul_failover',
          'a group such as { datacenter: eu-west } or { service: learner-backup }',
          {
            service: field(name('the name of a service'), 'Name in the catalogue and in certificates; the same where left out'),
            datacenter: field(name('a datacenter'), "The agent's own where left out"),
            filter: field(text('an expression'), 'Expression that instances must fulfil; none where left out'),
            passing: field(flag, 'Only instances all of whose checks pass; as for the service itself where left out'),
          },
          homeOf,
        ),
        { minItems: 1 },
      ),
      'Who takes the calls where the service has no instance; the first of them that has',
    ),
    namespace: field(name('a namespace'), 'Namespace (Consul Enterprise); CONSUL_NAMESPACE where left out'),
    partition: field(name('a partition'), 'Admin partition (Consul Enterprise); CONSUL_PARTITION where left out'),
    near: field(name('_agent or the name of a node'), 'Sorts instances by their distance, for nearest'),
    nearest: field(count(1, 20_000), 'Only so many of the nearest instances are used; all where left out. Needs near'),
    stale: field(flag, 'Any server may answer, not only the leader'),
    max_age: field(
      duration({ minMs: 1, example: '10s' }),
      'With stale: a server that has not heard of its leader for longer is not believed, and the leader asked; any where left out',
    ),
    passing: field(flag, 'Only instances all of whose checks pass; true where left out. With false those with warnings count, too'),
    token_file: field(name('the path of a file with a token'), 'In the place of CONSUL_HTTP_TOKEN_FILE; read again when it changes'),
    keep_last: field(duration({ example: '5m' }), 'How long the last good endpoints outlive an empty answer; 5m where left out'),
  },
  homeOf,
);
