import type { PeerIdentity } from './peer-identity.ts';

/**
 * A subject is escaped by RFC 2253 already, and stands as it is between its quotes, as Envoy has it; only what an ASCII header cannot hold is
 * written in that escaping too.
 */
const quotedSubject = (subject: string): string => {
  const bytes = Buffer.from(subject, 'utf8');
  let text = '';
  for (const byte of bytes)
    text += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\${byte.toString(16).padStart(2, '0').toUpperCase()}`;
  return `"${text.replace(/\\.|["\\]/g, (piece) => (piece.length === 2 ? piece : `\\${piece}`))}"`;
};

const quoted = (text: string): string => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;

/** Envoy quotes a value that holds one of its separators. */
const value = (text: string): string => (/[,;="\\\s]/.test(text) ? quoted(text) : text);

/**
 * The value of `x-forwarded-client-cert` in Envoy's form: `By=...;Hash=...;Subject="...";URI=...;DNS=...`.
 * @param ownName our own SPIFFE id, or a DNS name where we have none.
 */
export const formatXfcc = (peer: PeerIdentity, ownName: string): string => {
  const parts = [`By=${value(ownName)}`, `Hash=${peer.fingerprint256}`, `Subject=${quotedSubject(peer.subject)}`];
  for (const uri of peer.uriSans) parts.push(`URI=${value(uri)}`);
  for (const name of peer.dnsSans) parts.push(`DNS=${value(name)}`);
  return parts.join(';');
};
