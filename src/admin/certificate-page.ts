import { X509Certificate } from 'node:crypto';
import type { CertificateFileView, CertificatesView } from './views.ts';

const pemBlock = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;
const dayMs = 86_400_000;

/** Node prints `DNS:a, URI:b, IP Address:c`, and quotes what contains a comma. */
const subjectAltNames = (printed: string | undefined) => {
  const names = printed?.match(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g) ?? [];
  return names.flatMap((name) => {
    const at = name.indexOf(':');
    const kind = name.slice(0, at).trim();
    const raw = name.slice(at + 1);
    const value = raw.startsWith('"') ? (JSON.parse(raw) as string) : raw;
    if (kind === 'DNS') return { dns: value };
    if (kind === 'URI') return { uri: value };
    return kind === 'IP Address' ? { ip_address: value } : [];
  });
};

const certificateJson = (path: string, pem: string, nowMs: number) => {
  const certificate = new X509Certificate(pem);
  const expiresMs = Date.parse(certificate.validTo);
  return {
    path,
    serial_number: certificate.serialNumber.toLowerCase(),
    subject_alt_names: subjectAltNames(certificate.subjectAltName),
    days_until_expiration: String(Math.max(0, Math.floor((expiresMs - nowMs) / dayMs))),
    valid_from: new Date(Date.parse(certificate.validFrom)).toISOString(),
    expiration_time: new Date(expiresMs).toISOString(),
  };
};

const fileJson = ({ path, pem }: CertificateFileView, nowMs: number) =>
  (pem.match(pemBlock) ?? []).map((block) => certificateJson(path, block, nowMs));

/** Envoy's `envoy.admin.v3.Certificates`. @param nowMs wall clock. */
export const certificatesJson = (view: CertificatesView | undefined, nowMs: number) => ({
  certificates: view === undefined ? [] : [{ ca_cert: fileJson(view.authorities, nowMs), cert_chain: fileJson(view.chain, nowMs) }],
});
