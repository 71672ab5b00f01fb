import { type Clock, formatHostPort } from '../../core/index.ts';
import { CertificateAuthority } from '../../identity/index.ts';
import type { Address } from './address.ts';
import { checkListenerCertificate } from './certificate-checks.ts';
import { type CheckResult, failed, ok, skipped, warning } from './check-result.ts';
import { type ProbeOptions, type ProbeOutcome, probePlainText, probeTls } from './listener-probe.ts';
import type { VerifyPlan } from './plan.ts';

/** A client of another mesh: signed well, by somebody whom nobody here trusts. */
export interface ForeignIdentity {
  readonly cert: string;
  readonly key: string;
}

export const makeForeignIdentity = async (clock: Clock): Promise<ForeignIdentity> => {
  const nowMs = clock.wallNow();
  const { authority } = await CertificateAuthority.create({ trustDomain: 'mesh.local', keyType: 'p256', nowMs });
  const { certPem, keyPem } = await authority.issue({
    name: 'mesh-client',
    trustDomain: 'mesh.local',
    validDays: 1,
    keyType: 'p256',
    nowMs,
  });
  return { cert: certPem, key: keyPem };
};

export interface InboundQuestion extends ProbeOptions {
  readonly service: string;
  readonly plan: VerifyPlan;
  readonly foreign: ForeignIdentity;
  /** Whether the address is one of this machine, so that a closed port is a fact and no firewall. */
  readonly isHere: boolean;
}

const checksBehind = ['certificate', 'mtls'];

const restart = (variable: string): string => `${variable} outrider sidecar  # restart it so; its log names callers that speak otherwise`;

/** A client that must not get in: what to say where it did, and where it did not. */
const mustRefuse = (check: string, what: string, outcome: ProbeOutcome, remedy: string): CheckResult => {
  switch (outcome.kind) {
    case 'accepted':
      return failed(check, `${what} is let in`, remedy);
    case 'refused':
      return ok(check, `${what} is refused`);
    case 'silent':
      return ok(check, `${what} gets no answer`);
    case 'unreachable':
      return skipped(check, `${what}: ${outcome.failure.why}`);
  }
};

/** The inbound listener as somebody outside of it sees it: reachable, who it says it is, and whom it lets in. */
export const checkInbound = async (address: Address, question: InboundQuestion): Promise<readonly CheckResult[]> => {
  const { service, plan, foreign, isHere } = question;
  const { identity } = plan;
  const servername = service;
  const own = identity === undefined ? {} : { ca: identity.caPem, cert: identity.certPem, key: identity.keyPem };
  // A plain handshake first: nothing else is worth a try where nobody answers.
  const first = await probeTls(address, { servername, ...own, minVersion: plan.tlsMinimum }, question);
  const where = formatHostPort(address);
  if (first.outcome.kind === 'unreachable') {
    const { kind, why } = first.outcome.failure;
    const behind = checksBehind.map((check) => skipped(check, `${where}: ${why}`));
    if (kind === 'out_of_reach' && !isHere) return [skipped('port', `${where}: ${why}; ask from a machine of the mesh`), ...behind];
    return [
      failed(
        'port',
        `${where}: ${why}`,
        `outrider sidecar  # start it with SERVICE_NAME=${service} GRPC_PORT=${address.port}; else its log says why not`,
      ),
      ...behind,
    ];
  }
  const plain = await probePlainText(address, question);
  const plaintext = mustRefuse('mtls.plaintext', 'plain text', plain, restart('INBOUND_TLS=strict'));
  if (first.chainPem === '') {
    // No handshake at all: either it speaks no TLS, or not the version of ours.
    const why = first.outcome.kind === 'refused' ? first.outcome.why : 'it does not answer the handshake';
    const remedy =
      plain.kind === 'accepted' ? restart('INBOUND_TLS=strict') : `openssl s_client -connect ${where} -alpn h2 -servername ${service}`;
    return [ok('port', `${where} accepts connections`), failed('certificate', `shows none: ${why}`, remedy), plaintext];
  }
  const nowMs = question.clock.wallNow();
  const [without, others, old] = await Promise.all([
    probeTls(address, { servername, minVersion: plan.tlsMinimum }, question),
    probeTls(address, { servername, minVersion: plan.tlsMinimum, ...foreign }, question),
    identity === undefined ? undefined : probeTls(address, { servername, ...own, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }, question),
  ]);
  return [
    ok('port', `${where} accepts connections`),
    ...checkListenerCertificate(first.chainPem, service, plan, nowMs),
    clientOf(first.outcome, plan),
    mustRefuse('mtls.required', 'a client without a certificate', without.outcome, restart('INBOUND_TLS=strict')),
    mustRefuse(
      'mtls.authority',
      'a certificate of another authority',
      others.outcome,
      `outrider certs verify ./certs  # CA_CERT_PATH of ${service} trusts somebody else as well`,
    ),
    plaintext,
    versions(old?.outcome, plan),
  ];
};

/** Our own certificate has to be good enough, or nothing below means anything. */
const clientOf = (outcome: ProbeOutcome, { identity }: VerifyPlan): CheckResult => {
  if (identity === undefined) return skipped('mtls.client', 'no certificate of a client: name one with --cert and --key');
  if (outcome.kind === 'accepted') return ok('mtls.client', `${identity.certPath} is let in, ${outcome.protocol}`);
  const why = outcome.kind === 'refused' ? outcome.why : 'it does not answer';
  return failed(
    'mtls.client',
    `${identity.certPath} is refused: ${why}`,
    `outrider certs verify ${identity.certPath} --ca ${identity.caPath}`,
  );
};

const versions = (outcome: ProbeOutcome | undefined, { tlsMinimum }: VerifyPlan): CheckResult => {
  if (outcome === undefined) return skipped('mtls.version', 'no certificate of a client: name one with --cert and --key');
  if (outcome.kind !== 'accepted') return mustRefuse('mtls.version', 'TLS 1.2', outcome, '');
  const remedy = restart('TLS_MINIMUM=1.3');
  if (tlsMinimum === 'TLSv1.2') return warning('mtls.version', 'TLS 1.2 is let in, as TLS_MINIMUM=1.2 says here', remedy);
  return failed('mtls.version', 'TLS 1.2 is let in', remedy);
};
