/** Of an answer of a collector, which may be a whole page. */
const longestAnswer = 200;
const opensslError = /SSL routines:[^:]*:([^:]+):/;

/** What OpenTelemetry's exporters throw where a server has answered by HTTP. */
interface RefusedByHttp extends Error {
  readonly code: number;
  readonly data?: string;
}

const isRefusedByHttp = (error: Error): error is RefusedByHttp =>
  error.name === 'OTLPExporterError' && typeof (error as Partial<RefusedByHttp>).code === 'number';

/** Why a collector did not take what it was sent, in words for the log: the exporters' own are `Found` for a redirection, or the code of OpenSSL. */
export const exportProblem = (error: Error | undefined): string => {
  if (error === undefined) return 'refused';
  if (isRefusedByHttp(error)) {
    const answer = (error.data ?? '').replaceAll(/\s+/g, ' ').trim().slice(0, longestAnswer);
    return `the answer is HTTP ${error.code} ${error.message}${answer === '' ? '' : `: ${answer}`}`;
  }
  if (error.message === 'Export failed with retryable status')
    return 'the answer is one that asks for patience (HTTP 429, 502, 503 or 504), and stayed so for as long as an export may take';
  const handshake = opensslError.exec(error.message)?.[1];
  return handshake === undefined ? error.message : `TLS: ${handshake}`;
};
