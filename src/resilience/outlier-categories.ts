import type { OutlierResult } from './outlier-host.ts';

/**
 * What a gRPC status says about the endpoint that gave it, by the HTTP status that Envoy takes it for: UNKNOWN, INTERNAL and DATA_LOSS
 * are 500, UNIMPLEMENTED is 501, UNAVAILABLE 503, DEADLINE_EXCEEDED 504. All others are the application's answer, which is a success
 * of the endpoint.
 */
export const outlierResultOfStatus = (grpcStatus: number): OutlierResult => {
  switch (grpcStatus) {
    case 2:
    case 12:
    case 13:
    case 15:
      return 'server_error';
    case 4:
    case 14:
      return 'gateway_error';
    default:
      return 'success';
  }
};

/** Of an answer that is no gRPC. */
export const outlierResultOfHttp = (httpStatus: number): OutlierResult =>
  httpStatus >= 502 && httpStatus <= 504 ? 'gateway_error' : httpStatus >= 500 && httpStatus <= 599 ? 'server_error' : 'success';
