/** How `/metrics` is written: the text format 0.0.4 of Prometheus, or OpenMetrics 1.0, which has units and exemplars beside it. */
export const expositionFormats = ['text', 'openmetrics'] as const;
export type ExpositionFormat = (typeof expositionFormats)[number];

interface Accepted {
  readonly type: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly quality: number;
}

const mostEntries = 32;

/** Entries of an `Accept` or `Accept-Encoding` (RFC 9110 12.5); what cannot be read of them is left out. */
const acceptedOf = (header: string): readonly Accepted[] =>
  header
    .split(',', mostEntries)
    .map((entry) => {
      const [type = '', ...rest] = entry.split(';').map((part) => part.trim().toLowerCase());
      const pairs = rest.map((part): [string, string] => {
        const at = part.indexOf('=');
        return at < 0
          ? [part, '']
          : [
              part.slice(0, at).trim(),
              part
                .slice(at + 1)
                .trim()
                .replaceAll('"', ''),
            ];
      });
      const parameters = new Map(pairs);
      const quality = Number(parameters.get('q') ?? 1);
      return { type, parameters, quality: quality >= 0 && quality <= 1 ? quality : 0 };
    })
    .filter(({ type }) => type !== '');

const textRanges = ['text/plain', 'text/*', '*/*'];
const openMetricsVersions = new Set([undefined, '1.0.0', '0.0.1']);

/** OpenMetrics for whoever names it and wants it no less than text; a browser, and whoever takes anything, gets text. */
export const negotiateFormat = (accept: string | undefined): ExpositionFormat => {
  const accepted = acceptedOf(accept ?? '');
  const qualityOf = (wanted: string): number =>
    Math.max(-1, ...accepted.filter(({ type }) => type === wanted).map(({ quality }) => quality));
  const open = Math.max(
    0,
    ...accepted
      .filter(({ parameters, type }) => type === 'application/openmetrics-text' && openMetricsVersions.has(parameters.get('version')))
      .map(({ quality }) => quality),
  );
  // What names it most closely counts (RFC 9110 12.5.1).
  const text = textRanges.map(qualityOf).find((quality) => quality >= 0) ?? 0;
  return open > 0 && open >= text ? 'openmetrics' : 'text';
};

/** Whether an answer may be compressed by gzip. */
export const acceptsGzip = (acceptEncoding: string | undefined): boolean => {
  const accepted = acceptedOf(acceptEncoding ?? '');
  const named = accepted.find(({ type }) => type === 'gzip') ?? accepted.find(({ type }) => type === '*');
  return named !== undefined && named.quality > 0;
};
