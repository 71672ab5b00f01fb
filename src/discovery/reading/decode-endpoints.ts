import type { EndpointAddress } from '../endpoints.ts';

export interface DecodedEndpoints {
  readonly endpoints: readonly EndpointAddress[];
  /** By the line that each was read from, for the next time. */
  readonly byLine: ReadonlyMap<string, EndpointAddress>;
}

/** So many lines take two milliseconds at most; calls go on in between. */
const linesAtOnce = 250;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Reads the lines of an `InstanceList`. An endpoint that is described as before stays the same object, so that whoever compares is quick. */
export const decodeEndpoints = async (lines: string, known: ReadonlyMap<string, EndpointAddress>): Promise<DecodedEndpoints> => {
  const endpoints: EndpointAddress[] = [];
  const byLine = new Map<string, EndpointAddress>();
  for (let start = 0; start < lines.length; ) {
    let end = lines.indexOf('\n', start);
    if (end < 0) end = lines.length;
    const line = lines.slice(start, end);
    const endpoint = known.get(line) ?? (JSON.parse(line) as EndpointAddress);
    endpoints.push(endpoint);
    byLine.set(line, endpoint);
    start = end + 1;
    if (endpoints.length % linesAtOnce === 0) await turn();
  }
  // Whoever takes a long list over has a turn of its own for that.
  if (endpoints.length > linesAtOnce) await turn();
  return { endpoints, byLine };
};
