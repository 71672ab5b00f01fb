/** What is measured: how many connections with how many calls in flight each, and how large a request is. */
export interface Shape {
  readonly name: string;
  readonly connections: number;
  readonly inFlight: number;
  /** Of the request's gRPC message; the response is always 100 bytes. */
  readonly messageBytes: number;
  /** Enough for seconds of CPU in the slowest proxy and a tenth of that in the fastest: /proc counts in ticks of 10 ms. */
  readonly calls: number;
}

export const shapes: readonly Shape[] = [
  { name: '8x32', connections: 8, inFlight: 32, messageBytes: 100, calls: 200_000 },
  { name: '100x1', connections: 100, inFlight: 1, messageBytes: 100, calls: 60_000 },
  { name: '1x1', connections: 1, inFlight: 1, messageBytes: 100, calls: 15_000 },
  { name: '8x4-64KiB', connections: 8, inFlight: 4, messageBytes: 65_536, calls: 15_000 },
];

export const directions = ['outbound', 'inbound'] as const;
export type Direction = (typeof directions)[number];

/** The figures to reach: CPU per call as a part of the other proxy's. */
export const targets: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  '8x32': { haproxy: 0.4, envoy: 0.12 },
  '100x1': { haproxy: 0.75, envoy: 0.3 },
  '8x4-64KiB': { haproxy: 1 },
};

/** CPU per call with every policy of resilience and traffic on, as a part of what it is with the usual ones. */
export const allPoliciesTarget = 1.25;

/** The same with traces and lines of one call in a hundred, as a part of what it is without. */
export const telemetryTarget = 1.15;
