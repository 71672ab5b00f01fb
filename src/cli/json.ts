/** Reading of somebody else's JSON without trusting it: a sidecar or an agent of another release may say more, less or something else. */
export type Json = Readonly<Record<string, unknown>>;

export const object = (value: unknown): Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};

export const list = (value: unknown): readonly Json[] => (Array.isArray(value) ? value.map(object) : []);

export const text = (value: unknown, otherwise = '-'): string =>
  typeof value === 'string' && value !== '' ? value : typeof value === 'number' ? String(value) : otherwise;
