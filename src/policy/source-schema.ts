import { field, group, inert, refused, required } from './group.ts';
import { homeOf } from './homes.ts';
import { count, duration, either, flag, list, placed, refuseKind, type Shape, text, word } from './shape.ts';

/** Read further in `endpoint-address.ts`, where a message can say which part is wrong. */
const hostPort = placed(text('"host:port"'));
const file = (what: string) => placed(text(`the path of ${what}`));

export const family = word(['all', 'v4', 'v6', 'v4_preferred', 'v6_preferred'], {
  ALL: 'all',
  V4_ONLY: 'v4',
  V6_ONLY: 'v6',
  V4_PREFERRED: 'v4_preferred',
  AUTO: 'v6_preferred',
});
export const refresh = duration({ minMs: 1_000 });
export const keepLast = duration({ example: '5m' });
const keepLastField = field(keepLast, 'How long the last good endpoints outlive an empty answer; 5m where left out');

const serviceName = placed(text('a name such as _grpc._tcp.auth.service.consul'));

/** Endpoints by names: `dns`. */
export const dnsShape = group(
  'dns',
  'a group with "names:" or "srv:"',
  {
    names: field(list(hostPort, { minItems: 1 }), 'Names to resolve, each as host:port; all their addresses are endpoints'),
    srv: field(
      either('scalar', serviceName, list(serviceName, { minItems: 1 })),
      'Names of SRV records, which say hosts, ports, priorities and weights',
    ),
    resolvers: field(
      list(placed(text('"address:port"')), { minItems: 1 }),
      'Name servers to ask, each as address or address:port; those of the system where left out',
    ),
    respect_ttl: field(flag, 'Ask name servers directly, and again when their TTL has run out; so with resolvers or srv anyway'),
    refresh_rate: field(refresh, 'How often names are resolved again where no TTL is known; 5s where left out'),
    lookup_family: field(family, 'Which addresses count; all where left out'),
    keep_last: keepLastField,
  },
  homeOf,
);

const resolverAddress = group(
  'resolver_address',
  'a group with "socket_address:"',
  {
    socket_address: required(
      group(
        'resolver_socket_address',
        'a group with "address:"',
        {
          address: required(placed(text('an IP address')), 'IP address'),
          port_value: field(count(1, 65_535), 'Port; 53 where left out'),
          protocol: inert(word(['TCP', 'UDP']), 'remove it: questions go by UDP, and by TCP where the answer is too long'),
        },
        homeOf,
      ),
      'Where it is',
    ),
  },
  homeOf,
);

/** Envoy's way to name name servers. */
export const dnsResolutionShape = group(
  'dns_resolution_config',
  'a group with "resolvers:"',
  {
    resolvers: required(list(resolverAddress, { minItems: 1 }), 'Name servers to ask'),
    dns_resolver_options: inert(
      group(
        'dns_resolver_options',
        'a group of flags',
        {
          use_tcp_for_dns_lookups: field(flag, 'Only TCP'),
          no_default_search_domain: field(flag, 'No search domains'),
        },
        homeOf,
      ),
      'remove it: questions go by UDP, and by TCP where the answer is too long; search domains are not looked at',
    ),
  },
  homeOf,
);
export const dnsResolversShape = list(resolverAddress, { minItems: 1 });

const tlsFiles = {
  ca_file: field(file('a PEM file'), 'Authorities that its certificate must come from; those of the system where left out'),
  client_cert_file: field(file('a PEM file'), 'Certificate to show it, with client_key_file'),
  client_key_file: field(file('a PEM file'), 'Key of client_cert_file'),
} as const;

/** Endpoints by an HTTP discoverer: `http`. */
export const httpSourceShape = group(
  'http_discovery',
  'a group with "url:"',
  {
    url: required(
      placed(text('a URL such as "http://registry:8080"')),
      'Base of the discoverer; GET <url>/v1/instances answers with instances',
    ),
    interval: field(duration({ minMs: 1_000, maxMs: 3_600_000 }), 'How often it is asked; 5s where left out'),
    timeout: field(duration({ minMs: 1, maxMs: 300_000 }), 'How long an answer may take; 5s where left out'),
    unregister_after: field(
      count(0, 1_000),
      'Connect failures in a row after which an instance is reported dead (POST <url>/v1/unregister/<id>); 3 where left out, 0: never',
    ),
    max_body_bytes: field(count(1_024, 268_435_456), 'Longest answer that is read; 8388608 where left out'),
    token_file: field(file('a file with a token'), 'Sent as "authorization: Bearer <token>"; read again when it changes'),
    ...tlsFiles,
    keep_last: keepLastField,
  },
  homeOf,
);

/** Endpoints in a file: `file`. */
export const fileSourceShape = either(
  'scalar',
  file('a file such as endpoints.yaml'),
  group(
    'file_discovery',
    'a group with "path:"',
    {
      path: required(file('a file such as endpoints.yaml'), 'File with endpoints, relative to the policy file; read again when it changes'),
      keep_last: keepLastField,
    },
    homeOf,
  ),
);

/** Envoy's way to say that endpoints stand in a file. */
export const edsShape = group(
  'eds_cluster_config',
  'a group with "eds_config:"',
  {
    service_name: field(
      placed(text('a name')),
      'The cluster_name under which the file lists the endpoints; the name of the cluster where left out',
    ),
    eds_config: required(
      group(
        'eds_config',
        'a group with "path_config_source:"',
        {
          path_config_source: field(
            group(
              'path_config_source',
              'a group with "path:"',
              {
                path: required(file('a file'), 'File in the format of EDS or CDS, YAML or JSON; read again when it changes'),
                watched_directory: inert(
                  group('watched_directory', 'a group with "path:"', { path: field(text('a folder'), 'Folder') }, homeOf),
                  'remove it: files behind symbolic links are watched as well',
                ),
              },
              homeOf,
            ),
            'Endpoints in a file',
          ),
          path: field(file('a file'), 'The same in its older form'),
          resource_api_version: field(word(['V3'], { AUTO: 'V3' }), 'Only V3'),
          initial_fetch_timeout: inert(duration({}), 'remove it: calls wait for no file'),
          ads: refused('write path_config_source: there is no xDS here'),
          api_config_source: refused('write path_config_source: there is no xDS here'),
          self: refused('write path_config_source: there is no xDS here'),
        },
        homeOf,
      ),
      'Where the endpoints stand',
    ),
  },
  homeOf,
);

const portExpected = 'the name or the number of a port';
const portNameOrNumber: Shape<string | number> = {
  expected: portExpected,
  read: (node, path, problems) => {
    const value = node.kind === 'scalar' ? node.value : null;
    if (typeof value === 'string' && /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i.test(value)) return value;
    if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535) return value;
    return refuseKind(node, path, portExpected, problems);
  },
  jsonSchema: () => ({
    anyOf: [
      { type: 'string', minLength: 1 },
      { type: 'integer', minimum: 1, maximum: 65_535 },
    ],
  }),
};

/** Endpoints by EndpointSlices of the Kubernetes API: `kubernetes`. */
export const kubernetesShape = group(
  'kubernetes_discovery',
  'a group with "service:"',
  {
    service: required(placed(text('the name of a Service')), 'Name of the Service whose EndpointSlices are watched'),
    namespace: field(placed(text('a namespace')), "Namespace of the Service; the pod's own where left out"),
    port: field(portNameOrNumber, 'Port of the endpoints, by its name or number; where left out the one named grpc, else the only one'),
    api_server: field(placed(text('a URL such as https://kubernetes.default.svc')), 'https://kubernetes.default.svc where left out'),
    token_file: field(file('a file with a token'), "The pod's service account where left out; read again when it changes"),
    ...tlsFiles,
    keep_last: keepLastField,
  },
  homeOf,
);
