import type { Shortcoming } from '../core/index.ts';
import type { RegistrationView } from '../discovery/index.ts';
import type { IdentityFiles } from '../identity/index.ts';
import { formatProblem, type PolicyFiles } from '../policy/index.ts';

export interface SidecarParts {
  readonly identity: IdentityFiles | undefined;
  readonly policyFiles: PolicyFiles | undefined;
  readonly registration: RegistrationView | undefined;
  readonly telemetry: readonly Shortcoming[];
}

/** What of a sidecar that serves does not work as it was meant to: certificates, policies, the catalogue, whom it tells of its calls. */
export const shortcomingsOf = ({ identity, policyFiles, registration, telemetry }: SidecarParts): readonly Shortcoming[] => [
  ...ofCertificates(identity),
  ...ofPolicies(policyFiles),
  ...(registration?.error === undefined
    ? []
    : [
        {
          why: `not registered: ${registration.error}`,
          ...(registration.remedy === undefined ? {} : { remedy: registration.remedy }),
        },
      ]),
  ...telemetry,
];

/** Each in one line, with what helps. */
export const describeShortcomings = (shortcomings: readonly Shortcoming[]): string =>
  shortcomings
    .map(({ why, remedy }) => (remedy === undefined ? why : `${why}; ${remedy}`))
    .join('. ')
    .replaceAll(/\s+/g, ' ');

const ofCertificates = (identity: IdentityFiles | undefined): readonly Shortcoming[] => {
  if (identity === undefined) return [];
  const { lastError, value } = identity;
  return [
    ...(lastError === undefined ? [] : [{ why: `certificates not reloaded, the last good ones stay: ${lastError}` }]),
    ...value.warnings,
  ];
};

const ofPolicies = (policyFiles: PolicyFiles | undefined): readonly Shortcoming[] => {
  if (policyFiles === undefined) return [];
  const last = policyFiles.history.at(-1);
  if (last === undefined) return [];
  const wrong = last.ok ? undefined : last.problems.find(({ severity }) => severity === 'error');
  if (wrong !== undefined) return [{ why: `policies not reloaded, the last good ones stay: ${formatProblem(wrong)}` }];
  // A warning of a file concerns its calls, and one of an empty folder all of them.
  return last.files.length === 0 ? last.problems.slice(0, 1).map((problem) => ({ why: formatProblem(problem) })) : [];
};
