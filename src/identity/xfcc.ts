import type { PeerIdentity } from './peer-identity.ts';

const quoted = (text: string): string => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;

/** Envoy quotes a value that holds one of its separators. */
const value = (text: string): string => (/[,;="\\\s]/.test(text) ? quoted(text) : text);

/**
 * The value of `x-forwarded-client-cert` in Envoy's form: `By=...;Hash=...;Subject="...";URI=...;DNS=...`.
 * @param ownName our own SPIFFE id, or a DNS name where we have none.
 */
export const formatXfcc = (peer: PeerIdentity, ownName: string): string => {
  const parts = [`By=${value(ownName)}`, `Hash=${peer.fingerprint256}`, `Subject=${quoted(peer.subject)}`];
  for (const uri of peer.uriSans) parts.push(`URI=${value(uri)}`);
  for (const name of peer.dnsSans) parts.push(`DNS=${value(name)}`);
  return parts.join(';');
};
