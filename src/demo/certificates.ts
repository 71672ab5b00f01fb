import type { Clock } from '../core/index.ts';
import { certificatePaths, type IdentityPaths, issueInto, openAuthority } from '../identity/index.ts';

export const demoTrustDomain = 'mesh.local';

/** Makes an authority and a certificate for each name, in a folder of its own. Returns where each identity lies. */
export const makeIdentities = async <N extends string>(
  folder: string,
  names: readonly N[],
  clock: Clock,
): Promise<Readonly<Record<N, IdentityPaths>>> => {
  const keyType = 'p256';
  const nowMs = clock.wallNow();
  const { authority } = await openAuthority(folder, { trustDomain: demoTrustDomain, keyType, nowMs });
  const identities: Partial<Record<N, IdentityPaths>> = {};
  for (const name of names) {
    const { cert, key } = await issueInto(folder, authority, { name, trustDomain: demoTrustDomain, validDays: 1, keyType, nowMs });
    identities[name] = { caCertPath: certificatePaths(folder, 'ca').cert, clientCertPath: cert, clientKeyPath: key };
  }
  return identities as Record<N, IdentityPaths>;
};
