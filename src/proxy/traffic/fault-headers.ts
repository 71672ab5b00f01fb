import type { HeaderBlock } from '../../http2/index.ts';

/** What a caller asks to be broken, by Envoy's headers; -1: it says nothing. They are read before they are removed. */
export interface FaultHeaders {
  readonly delayMs: number;
  readonly delayPercent: number;
  readonly abortGrpcStatus: number;
  readonly abortHttpStatus: number;
  readonly abortPercent: number;
  readonly responseKibPerSecond: number;
  readonly responsePercent: number;
}

const numberIn = (block: HeaderBlock, name: string, min: number, max: number): number => {
  const at = block.find(name);
  const text = at < 0 ? '' : block.value(at);
  const number = /^\d{1,9}$/.test(text) ? Number(text) : -1;
  return number >= min && number <= max ? number : -1;
};

/** Only for tables with a route that listens to them. */
export const readFaultHeaders = (block: HeaderBlock): FaultHeaders => ({
  delayMs: numberIn(block, 'x-envoy-fault-delay-request', 0, 999_999_999),
  delayPercent: numberIn(block, 'x-envoy-fault-delay-request-percentage', 0, 100),
  abortGrpcStatus: numberIn(block, 'x-envoy-fault-abort-grpc-request', 1, 16),
  abortHttpStatus: numberIn(block, 'x-envoy-fault-abort-request', 200, 599),
  abortPercent: numberIn(block, 'x-envoy-fault-abort-request-percentage', 0, 100),
  responseKibPerSecond: numberIn(block, 'x-envoy-fault-throughput-response', 1, 999_999_999),
  responsePercent: numberIn(block, 'x-envoy-fault-throughput-response-percentage', 0, 100),
});
