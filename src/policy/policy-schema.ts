import { accessShape } from './access.ts';
import { accessLogShape } from './access-log.ts';
import { circuitBreakersShape, clustersShape, streamWindow } from './cluster-schema.ts';
import { listenerAgeFields } from './connection-age.ts';
import { field, group, refused } from './group.ts';
import { homeOf } from './homes.ts';
import { retryPolicyShape } from './retry-schema.ts';
import { inboundRouteShape, nameText, outboundRouteShape } from './route-schema.ts';
import { count, type JsonSchema, type JsonSchemaParts, list, placed, text, word } from './shape.ts';

const matchOrder = placed(word(['file', 'longest_prefix']));
const matchOrderDoc =
  'file (where left out): the first route that matches; longest_prefix: whole paths, then regular expressions, then the longest prefix';

/** One policy file: the description that reads it, explains what is wrong with it, and prints its JSON Schema. */
export const policyShape = group(
  'policy',
  'keys such as "routes:" and "clusters:"',
  {
    routes: field(list(outboundRouteShape), 'Outbound routes, tried in their order'),
    inbound: field(
      group(
        'inbound',
        'a group with "routes:"',
        {
          routes: field(list(inboundRouteShape), 'Inbound routes, tried in their order'),
          access: field(placed(accessShape), 'Who may call the local service; whoever has a certificate of the mesh where left out'),
          access_log: field(placed(accessLogShape), 'A line for each inbound call, or for some of them'),
          match_order: field(matchOrder, matchOrderDoc),
          retry_policy: field(placed(retryPolicyShape), 'For inbound routes that write none'),
          ...listenerAgeFields,
        },
        homeOf,
      ),
      'What holds for calls to the local service',
    ),
    clusters: field(clustersShape, "Services that are called; by name, or as Envoy's list"),
    default: field(
      placed(
        group(
          'default',
          'a group such as { action: error }',
          {
            action: field(placed(word(['error', 'use_cluster'])), 'error where left out'),
            use_cluster: field(nameText, 'Cluster that gets the calls, with action: use_cluster'),
          },
          homeOf,
        ),
      ),
      'What becomes of an outbound call that no route matches and whose authority names no cluster',
    ),
    access_log: field(placed(accessLogShape), 'A line for each outbound call, or for some of them'),
    match_order: field(matchOrder, matchOrderDoc),
    descriptor_sets: field(
      list(placed(text('the name of a file such as acme.binpb'))),
      'Descriptor sets (protoc -o, buf build) in the same folder: methods with an idempotency_level are idempotent where a route says nothing',
    ),
    circuit_breakers: field(placed(circuitBreakersShape), 'For clusters that write none'),
    retry_policy: field(placed(retryPolicyShape), 'For outbound routes that write none'),
    http2_protocol_options: field(
      placed(
        group(
          'http2_protocol_options',
          'a group such as { max_concurrent_streams: 1000 }',
          {
            max_concurrent_streams: field(
              count(1, 2_147_483_647),
              'Streams that a peer may open on one connection of a listener; 1000 where left out',
            ),
            initial_stream_window_size: streamWindow,
            initial_connection_window_size: streamWindow,
          },
          homeOf,
        ),
      ),
      'Limits of HTTP/2 on both listeners',
    ),
    ...listenerAgeFields,
    static_resources: refused('write what is below it (clusters) at the top of the file'),
    virtual_hosts: refused('write the routes of the virtual host at the top of the file'),
    route_config: refused('write the routes of its virtual hosts at the top of the file'),
    dynamic_resources: refused('remove it'),
    listeners: refused('remove it: ports come from the environment (GRPC_PORT, OUTBOUND_PORT)'),
    admin: refused('remove it: the admin port comes from the environment (ADMIN_PORT)'),
    node: refused('remove it: the name of the service comes from the environment (SERVICE_NAME)'),
  },
  homeOf,
);

/** JSON Schema (draft 2020-12) of a policy file, for editors. Always the same text for the same release. */
export const policyJsonSchema = (): JsonSchema => {
  const parts: JsonSchemaParts = new Map();
  const root = policyShape.jsonSchema(parts);
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Outrider policies',
    ...root,
    $defs: Object.fromEntries([...parts].sort(([a], [b]) => (a < b ? -1 : 1))),
  };
};
