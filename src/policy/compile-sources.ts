import { isIP } from 'node:net';
import { dirname, isAbsolute, join } from 'node:path';
import { formatHostPort } from '../core/index.ts';
import type { ListedCluster, MappedCluster } from './cluster-schema.ts';
import { compileConsul } from './compile-consul.ts';
import { readHostPort } from './endpoint-address.ts';
import type { Problems } from './problems.ts';
import type { Placed } from './shape.ts';
import type {
  DnsEndpointsPolicy,
  EndpointPolicy,
  EndpointSourcePolicy,
  FileEndpointsPolicy,
  HttpEndpointsPolicy,
  KubernetesEndpointsPolicy,
  SourceCredentials,
} from './types.ts';

type ClusterGroup = MappedCluster | ListedCluster;
type ResolverGroups = NonNullable<ClusterGroup['values']['dns_resolvers']>;

/** Keys of a cluster that say where its endpoints come from. */
export const sourceKeys = ['endpoints', 'load_assignment', 'dns', 'consul', 'http', 'file', 'kubernetes', 'eds_cluster_config'] as const;

const defaultRefreshMs = 5_000;
const defaultKeepLastMs = 300_000;
const defaultUnregisterAfter = 3;
const defaultMaxBodyBytes = 8 * 1_048_576;
const inCluster = '/var/run/secrets/kubernetes.io/serviceaccount';

/** `type` says something about endpoints that are written, or resolved; who asks somebody else for them has no choice. */
export const refuseOtherType = (written: ClusterGroup, way: (typeof sourceKeys)[number] | undefined, problems: Problems): void => {
  const { type } = written.values;
  if (type === undefined || way === undefined || way === 'endpoints' || way === 'load_assignment') {
    if (type === 'EDS') problems.error(written.placeOf('type'), 'EDS without eds_cluster_config', 'add eds_cluster_config, or remove it');
    return;
  }
  const right = way === 'eds_cluster_config' ? type === 'EDS' : way === 'dns' && (type === 'STRICT_DNS' || type === 'LOGICAL_DNS');
  if (!right) problems.error(written.placeOf('type'), `${type} contradicts ${way}`, 'remove it');
};

/** What the cluster says about resolving names, whether they are endpoints or stand under `dns`. */
export const dnsOptions = (written: ClusterGroup, problems: Problems): Omit<DnsEndpointsPolicy, 'kind' | 'names'> => {
  const { dns, values } = { dns: written.values.dns?.values, values: written.values };
  const both = values.dns_resolvers !== undefined && values.dns_resolution_config !== undefined;
  if (both) problems.error(written.placeOf('dns_resolvers'), 'is written beside dns_resolution_config', 'keep one of them');
  const servers =
    dns?.resolvers?.flatMap((resolver) => readServer(resolver, problems)) ??
    readResolvers(values.dns_resolution_config?.values.resolvers ?? values.dns_resolvers, problems);
  const asksServers = dns?.respect_ttl ?? values.respect_dns_ttl;
  return {
    family: dns?.lookup_family ?? values.dns_lookup_family ?? 'all',
    refreshMs: dns?.refresh_rate ?? values.dns_refresh_rate ?? defaultRefreshMs,
    allAddresses: values.type !== 'LOGICAL_DNS',
    keepLastMs: dns?.keep_last ?? values.keep_last ?? defaultKeepLastMs,
    ...(servers !== undefined && { servers }),
    ...(asksServers !== undefined && { asksServers }),
  };
};

export const compileDns = (written: ClusterGroup, problems: Problems): DnsEndpointsPolicy => {
  const { dns } = written.values;
  if (dns !== undefined && !dns.wrote('names') && !dns.wrote('srv'))
    problems.error(dns.place, 'has neither names nor srv', 'add "names:" with a list of host:port, or "srv:" with a name');
  const first = new Map<string, number>();
  const isNew = (key: string, { place }: Placed<string>): boolean => {
    const earlier = first.get(key);
    if (earlier === undefined) first.set(key, place.location.line);
    else problems.error(place, `${key} is written twice (first in line ${earlier})`, 'keep one of them; a weight says how much it gets');
    return earlier === undefined;
  };
  const names = (dns?.values.names ?? []).flatMap((name): EndpointPolicy[] => {
    const address = readHostPort(name, problems);
    if (address === undefined || !isNew(name.value.toLowerCase(), name)) return [];
    return [{ ...address, weight: 1 }];
  });
  const srv = dns?.values.srv;
  const services = (srv === undefined ? [] : 'value' in srv ? [srv] : srv).flatMap((service) => {
    if (serviceNamePattern.test(service.value)) return isNew(service.value.toLowerCase(), service) ? [service.value] : [];
    problems.error(service.place, `${JSON.stringify(service.value)} is no DNS name`, 'write a name such as _grpc._tcp.auth.service.consul');
    return [];
  });
  return { kind: 'dns', names, ...dnsOptions(written, problems), ...(services.length > 0 && { services }) };
};

const serviceNamePattern = /^(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$/;

/** `consul`, `http`, `file`, `kubernetes` and `eds_cluster_config`; `undefined` where none is written. */
export const compileSource = (name: string, written: ClusterGroup, problems: Problems): EndpointSourcePolicy | undefined => {
  const { consul, http, file, kubernetes, eds_cluster_config: eds, keep_last: clusterKeepLastMs = defaultKeepLastMs } = written.values;
  const clusterName = written.values.service_name ?? name;
  if (consul !== undefined) return compileConsul(consul, clusterName, clusterKeepLastMs, problems);
  if (http !== undefined) return compileHttp(http, clusterKeepLastMs, problems);
  if (kubernetes !== undefined) return compileKubernetes(kubernetes, clusterKeepLastMs, problems);
  if (file !== undefined) {
    const path = 'value' in file ? file : file.values.path;
    const keepLastMs = ('value' in file ? undefined : file.values.keep_last) ?? clusterKeepLastMs;
    return path === undefined ? undefined : compileFile(path, clusterName, keepLastMs);
  }
  if (eds === undefined) return undefined;
  const config = eds.values.eds_config;
  const [path, second] = [config?.values.path_config_source?.values.path, config?.values.path];
  if (path !== undefined && second !== undefined) problems.error(second.place, 'is written beside path_config_source', 'keep one of them');
  const found = path ?? second;
  if (config !== undefined && found === undefined && !config.wrote('path_config_source') && !config.wrote('path'))
    problems.error(config.place, 'names no file', 'add path_config_source: { path: ... }');
  return found === undefined ? undefined : compileFile(found, eds.values.service_name?.value ?? clusterName, clusterKeepLastMs);
};

const compileFile = ({ value, place }: Placed<string>, clusterName: string, keepLastMs: number): FileEndpointsPolicy => ({
  kind: 'file',
  path: beside(value, place.location.file),
  clusterName,
  keepLastMs,
});

/** Paths are relative to the policy file that names them, wherever the process was started. */
const beside = (path: string, policyFile: string): string => (isAbsolute(path) ? path : join(dirname(policyFile), path));

const compileHttp = (
  { values, place, wrote, placeOf }: NonNullable<ClusterGroup['values']['http']>,
  keepLastMs: number,
  problems: Problems,
): HttpEndpointsPolicy | undefined => {
  const url = values.url === undefined ? undefined : readUrl(values.url, problems);
  if (url?.startsWith('http:')) {
    for (const key of ['ca_file', 'client_cert_file', 'client_key_file'] as const)
      if (wrote(key)) problems.error(placeOf(key), 'has no effect: the URL begins with http:', 'write https: in the URL, or remove it');
  }
  const credentials = compileCredentials(values, place, problems);
  if (url === undefined) return undefined;
  return {
    kind: 'http',
    url,
    intervalMs: values.interval ?? defaultRefreshMs,
    timeoutMs: values.timeout ?? defaultRefreshMs,
    unregisterAfter: values.unregister_after ?? defaultUnregisterAfter,
    maxBodyBytes: values.max_body_bytes ?? defaultMaxBodyBytes,
    keepLastMs: values.keep_last ?? keepLastMs,
    ...credentials,
  };
};

const compileKubernetes = (
  { values, place }: NonNullable<ClusterGroup['values']['kubernetes']>,
  keepLastMs: number,
  problems: Problems,
): KubernetesEndpointsPolicy | undefined => {
  for (const name of [values.service, values.namespace]) {
    if (name !== undefined && !/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name.value))
      problems.error(name.place, `${JSON.stringify(name.value)} is no name of Kubernetes`, 'write lower-case letters, digits and dashes');
  }
  const apiServer = values.api_server === undefined ? 'https://kubernetes.default.svc' : readUrl(values.api_server, problems);
  const credentials = compileCredentials(values, place, problems);
  if (values.service === undefined || apiServer === undefined) return undefined;
  const own = values.api_server === undefined ? { tokenFile: `${inCluster}/token`, caFile: `${inCluster}/ca.crt` } : {};
  return {
    kind: 'kubernetes',
    service: values.service.value,
    namespace: values.namespace?.value,
    port: values.port,
    apiServer,
    keepLastMs: values.keep_last ?? keepLastMs,
    ...own,
    ...credentials,
  };
};

type CredentialFiles = { readonly [K in 'token_file' | 'ca_file' | 'client_cert_file' | 'client_key_file']?: Placed<string> | undefined };

const compileCredentials = (
  { token_file, ca_file, client_cert_file, client_key_file }: CredentialFiles,
  place: Placed<string>['place'],
  problems: Problems,
): SourceCredentials => {
  if ((client_cert_file === undefined) !== (client_key_file === undefined))
    problems.error((client_cert_file ?? client_key_file)?.place ?? place, 'stands alone', 'write client_cert_file and client_key_file');
  const path = (written: Placed<string>): string => beside(written.value, written.place.location.file);
  return {
    ...(token_file !== undefined && { tokenFile: path(token_file) }),
    ...(ca_file !== undefined && { caFile: path(ca_file) }),
    ...(client_cert_file !== undefined && { clientCertFile: path(client_cert_file) }),
    ...(client_key_file !== undefined && { clientKeyFile: path(client_key_file) }),
  };
};

/** Without slashes at its end. */
const readUrl = ({ value, place }: Placed<string>, problems: Problems): string | undefined => {
  const refuse = (message: string, remedy: string): undefined => {
    problems.error(place, message, remedy);
    return undefined;
  };
  const url = URL.parse(value);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
    return refuse(`${JSON.stringify(value.slice(0, 200))} is no URL`, 'write http:// or https://, a host, and a port');
  if (url.username !== '' || url.password !== '') return refuse('a password in a URL', 'put a token into a file, and write token_file');
  if (url.search !== '' || url.hash !== '') return refuse('a query in the URL', 'end it with the path');
  return value.replace(/\/+$/, '');
};

const readServer = ({ value, place }: Placed<string>, problems: Problems): readonly string[] => {
  const [, bracketed, plain = '', port = '53'] = /^(?:\[([^\]]*)\]|([^[\]]*?))(?::(\d{1,5}))?$/.exec(value) ?? [];
  const host = isIP(value) === 6 ? value : (bracketed ?? plain);
  const number = isIP(value) === 6 ? 53 : Number(port);
  if (isIP(host) === 0 || number < 1 || number > 65_535) {
    problems.error(
      place,
      `${JSON.stringify(value)} is no address of a name server`,
      'write "127.0.0.1:8600": names cannot be resolved yet',
    );
    return [];
  }
  return [formatHostPort({ host, port: number })];
};

const readResolvers = (resolvers: ResolverGroups | undefined, problems: Problems): readonly string[] | undefined =>
  resolvers?.flatMap(({ values }) => {
    const address = values.socket_address?.values.address;
    const port = values.socket_address?.values.port_value ?? 53;
    if (address === undefined) return [];
    const value = formatHostPort({ host: address.value, port });
    return readServer({ value, place: address.place }, problems);
  });
