import { X509Certificate } from 'node:crypto';
import { certificateBlocks, checkCertificate, readCertificateFields, serviceNames } from '../../identity/index.ts';
import { type CheckResult, failed, ok, skipped, warning } from './check-result.ts';
import type { ClientIdentity, VerifyPlan } from './plan.ts';

const dayMs = 86_400_000;
const hourMs = 3_600_000;

const timeLeft = (ms: number): string => {
  const [count, unit] =
    ms >= 2 * dayMs
      ? [Math.floor(ms / dayMs), 'day']
      : ms >= hourMs
        ? [Math.floor(ms / hourMs), 'hour']
        : [Math.floor(ms / 60_000), 'minute'];
  return `${count} ${unit}${count === 1 ? '' : 's'} left`;
};

const authoritiesOf = (pem: string): readonly X509Certificate[] =>
  certificateBlocks(pem).flatMap((block) => {
    try {
      return [new X509Certificate(block)];
    } catch {
      return [];
    }
  });

type Thresholds = Pick<VerifyPlan, 'expiryWarningMs' | 'expiryFailureMs'>;

/** The end of the leaf's validity against the thresholds; what has expired already is said by `checkCertificate`. */
const expiry = (
  check: string,
  leaf: X509Certificate,
  nowMs: number,
  { expiryWarningMs, expiryFailureMs }: Thresholds,
  remedy: string,
): CheckResult => {
  const leftMs = leaf.validToDate.getTime() - nowMs;
  const detail = `until ${leaf.validToDate.toISOString().slice(0, 16).replace('T', ' ')} UTC, ${timeLeft(leftMs)}`;
  if (leftMs < expiryFailureMs) return failed(check, detail, remedy);
  return leftMs < expiryWarningMs ? warning(check, detail, remedy) : ok(check, detail);
};

/** The names that others look for. One of the first two is enough for a peer of this mesh; the rest is what clients use that know nothing of it. */
const names = (chain: string, service: string, trustDomain: string, remedy: string): CheckResult => {
  const { dnsNames, uris, ipAddresses } = readCertificateFields(new X509Certificate(certificateBlocks(chain)[0] ?? '').raw);
  const expected = serviceNames(service, trustDomain);
  const carried = [...dnsNames, ...ipAddresses, ...uris];
  const spiffeId = expected.uris[0] as string;
  if (!dnsNames.includes(service) && !uris.includes(spiffeId)) {
    const shown = carried.length === 0 ? 'nobody' : carried.slice(0, 3).join(', ');
    return failed(
      'certificate.names',
      `is for ${shown}: neither ${service} nor ${spiffeId} is among its names, and peers refuse it`,
      remedy,
    );
  }
  const missing = [...expected.dnsNames, ...expected.ips, ...expected.uris].filter((name) => !carried.includes(name));
  if (missing.length > 0) return warning('certificate.names', `lacks ${missing.join(', ')}`, remedy);
  return ok('certificate.names', `${service}, ${spiffeId} and ${carried.length - 2} more`);
};

/** The certificate that a listener has shown in a handshake, which also proves that it holds the key. */
export const checkListenerCertificate = (
  chainPem: string,
  service: string,
  { identity, trustDomain, expiryWarningMs, expiryFailureMs }: VerifyPlan,
  nowMs: number,
): readonly CheckResult[] => {
  const issue = `outrider certs issue ${service}  # with the authority of this mesh; its sidecar takes the files up by itself`;
  const compare = `outrider certs verify ${identity?.certPath ?? './certs'}  # compare the CA_CERT_PATH of both sides, or: outrider certs issue ${service}`;
  const authorities = identity === undefined ? [] : authoritiesOf(identity.caPem);
  const leaf = new X509Certificate(certificateBlocks(chainPem)[0] ?? '');
  const findings = checkCertificate({ certPem: chainPem, keyPem: undefined, authorities, name: undefined, nowMs });
  return findings.flatMap(({ check, result, detail }): readonly CheckResult[] => {
    const id = `certificate.${check}`;
    if (check === 'chain' && identity === undefined) return [skipped(id, 'no authority to check it against: name one with --ca')];
    if (check === 'key') return [ok(id, 'belongs to it: the handshake is signed with it')];
    if (check === 'names') return [names(chainPem, service, trustDomain, issue)];
    if (result === 'wrong') return [failed(id, detail, check === 'chain' ? compare : issue)];
    if (check === 'dates') return [expiry(id, leaf, nowMs, { expiryWarningMs, expiryFailureMs }, issue)];
    return [ok(id, detail)];
  });
};

/** The files of the client that does the checks: what is wrong with them would look like a fault of everybody else. */
export const checkClientIdentity = (identity: ClientIdentity | undefined, plan: VerifyPlan, nowMs: number): readonly CheckResult[] => {
  if (identity === undefined)
    return [skipped('identity', 'no certificate of a client: name one with --ca, --cert and --key, such as those of mesh-client')];
  const { certPem, keyPem, caPem, certPath, caPath } = identity;
  const authorities = authoritiesOf(caPem);
  const findings = checkCertificate({ certPem, keyPem, authorities, name: undefined, nowMs });
  const remedy = `outrider certs verify ${certPath} --ca ${caPath}`;
  const wrong = findings.filter(({ result }) => result === 'wrong');
  if (wrong.length > 0) return wrong.map(({ check, detail }) => failed(`identity.${check}`, `${certPath}: ${detail}`, remedy));
  const leaf = new X509Certificate(certificateBlocks(certPem)[0] ?? '');
  const issue = 'outrider certs issue mesh-client';
  const chain = findings.find(({ check }) => check === 'chain')?.detail ?? '';
  return [
    ok('identity.chain', `${certPath}, ${chain}`),
    expiry('identity.dates', leaf, nowMs, plan, issue),
    ...checkAuthorities(authorities, plan, nowMs),
  ];
};

const checkAuthorities = (authorities: readonly X509Certificate[], plan: Thresholds, nowMs: number): readonly CheckResult[] => {
  const first = [...authorities].sort((a, b) => a.validToDate.getTime() - b.validToDate.getTime())[0];
  const remedy =
    'outrider certs init --output-dir ./certs-new  # a new authority; put both into CA_CERT_PATH while certificates of either are about';
  return first === undefined ? [] : [expiry('identity.authority', first, nowMs, plan, remedy)];
};
