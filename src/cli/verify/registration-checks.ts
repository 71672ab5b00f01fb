import { type CheckResult, failed, ok, warning } from './check-result.ts';
import type { RegisteredInstance } from './consul-directory.ts';

/** An instance in the catalogue: what its checks say, and whether it says of itself what sidecars do. */
export const checkRegistration = (
  service: string,
  instance: RegisteredInstance,
  { consul, trustDomain, adminOption }: { readonly consul: string; readonly trustDomain: string; readonly adminOption: string },
): readonly CheckResult[] => {
  const { id, address, checks, meta } = instance;
  const lookUp = `curl -s ${consul}/v1/health/checks/${service}`;
  const bad = checks.filter(({ status }) => status !== 'passing');
  const results: CheckResult[] = [];
  if (address.port === 0 || address.host === '') {
    results.push(
      failed(
        'registration.address',
        `${id} is registered without a port`,
        `outrider sidecar  # with SERVICE_NAME=${service} and GRPC_PORT registers it`,
      ),
    );
  } else results.push(ok('registration.address', `${id} at ${address.host}:${address.port}`));
  for (const { name, status, output } of bad) {
    const detail = `${name} is ${status}${output === '' ? '' : `: ${output}`}`;
    if (status === 'warning') results.push(warning('registration.health', detail, lookUp));
    else if (status === 'maintenance' || name.includes('Maintenance Mode'))
      results.push(
        failed(
          'registration.health',
          `is in maintenance: ${output}`,
          `curl -s -X PUT '${consul}/v1/agent/service/maintenance/${id}?enable=false'`,
        ),
      );
    else results.push(failed('registration.health', detail, `outrider stats${adminOption} --filter '^local_service'  # or: ${lookUp}`));
  }
  if (bad.length === 0) {
    const count = checks.length === 1 ? '1 check' : `${checks.length} checks`;
    results.push(
      checks.every(({ isOfNode }) => isOfNode)
        ? warning(
            'registration.health',
            'nobody checks it: peers call it dead or alive',
            `REGISTRATION_CHECK=ttl outrider sidecar  # restart it with a check`,
          )
        : ok('registration.health', `passing, ${count}`),
    );
  }
  results.push(metadata(service, meta, trustDomain));
  return results;
};

const metadata = (service: string, meta: RegisteredInstance['meta'], trustDomain: string): CheckResult => {
  const { protocol, admin_port: adminPort, trust_domain: domain, version } = meta;
  if (protocol !== 'grpc' || adminPort === undefined) {
    const remedy = `CONSUL_HTTP_ADDR=<host:port> SERVICE_NAME=${service} outrider sidecar  # and take out what was registered by hand`;
    return warning(
      'registration.meta',
      'lacks what a sidecar says of itself (protocol, admin_port): somebody else has registered it',
      remedy,
    );
  }
  if (domain !== undefined && domain !== trustDomain) {
    const remedy = `TRUST_DOMAIN=${trustDomain} outrider sidecar  # or: outrider verify --trust-domain ${domain}`;
    return failed('registration.meta', `is of the trust domain ${domain}, not ${trustDomain}: its peers refuse it`, remedy);
  }
  return ok('registration.meta', [`admin port ${adminPort}`, ...(version === undefined ? [] : [`version ${version}`])].join(', '));
};
