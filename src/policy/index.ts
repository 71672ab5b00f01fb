export { clusterPolicy, compilePolicies, emptyPolicyTable, type PolicyCompilation } from './compile.ts';
export type { PolicyText } from './document.ts';
export { type EndpointFileReading, largestEndpointFileBytes, readEndpointFile } from './endpoint-file.ts';
export { PolicyFiles, type PolicyFilesOptions } from './policy-files.ts';
export { policyJsonSchema } from './policy-schema.ts';
export { formatProblem } from './problems.ts';
export { loadPolicies } from './read-policies.ts';
export type * from './traffic-types.ts';
export type * from './types.ts';
