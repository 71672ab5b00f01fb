/** Names of settings, headers and descriptors whose values nobody is to see. */
export const secretName = /TOKEN|SECRET|PASSWORD|PASSPHRASE|CREDENTIAL|PRIVATE|AUTHORIZATION|COOKIE|API[-_]?KEY|(^|[-_])KEY$/i;

/** Envoy's word for it. */
export const redacted = '[redacted]';
