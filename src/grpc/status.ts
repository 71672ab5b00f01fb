/** Status codes of gRPC by their names in the specification (`statuscodes.md`). */
export const GrpcStatus = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
export type GrpcStatusCode = (typeof GrpcStatus)[keyof typeof GrpcStatus];

const names: readonly string[] = Object.keys(GrpcStatus);

/**
 * The name of a status, such as `UNAVAILABLE`. A code that the specification does not know is `UNKNOWN`, as every gRPC client
 * reads it: the name is a label of metrics, and a server must not be able to mint labels.
 */
export const statusName = (code: number): string => names[code] ?? 'UNKNOWN';

/** The code of a name in any case, with `_` or `-`; `undefined` where there is none. For configuration. */
export const statusOfName = (name: string): GrpcStatusCode | undefined => {
  const index = names.indexOf(name.trim().toUpperCase().replaceAll('-', '_'));
  return index < 0 ? undefined : (index as GrpcStatusCode);
};

/**
 * What only an application can know, and a proxy therefore never says by itself (gRFC A54): a client that acts on `NOT_FOUND`
 * must be able to trust that the service said so.
 */
export const applicationOnlyStatuses: ReadonlySet<number> = new Set<number>([
  GrpcStatus.INVALID_ARGUMENT,
  GrpcStatus.NOT_FOUND,
  GrpcStatus.ALREADY_EXISTS,
  GrpcStatus.FAILED_PRECONDITION,
  GrpcStatus.ABORTED,
  GrpcStatus.OUT_OF_RANGE,
  GrpcStatus.DATA_LOSS,
]);

const longestStatusDigits = 9;

/** Reads the value of `grpc-status` in `bytes[start, end)`: its number, also one that nobody knows, or -1 where it is malformed. */
export const parseGrpcStatus = (bytes: Uint8Array, start: number, end: number): number => {
  if (end <= start || end - start > longestStatusDigits) return -1;
  let code = 0;
  for (let i = start; i < end; i++) {
    const digit = (bytes[i] as number) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    code = code * 10 + digit;
  }
  return code;
};

/** The status of an answer that carries no `grpc-status`, by its HTTP status (gRPC `http-grpc-status-mapping.md`). */
export const statusFromHttp = (httpStatus: number): GrpcStatusCode => {
  switch (httpStatus) {
    case 400:
    case 431:
      return GrpcStatus.INTERNAL;
    case 401:
      return GrpcStatus.UNAUTHENTICATED;
    case 403:
      return GrpcStatus.PERMISSION_DENIED;
    case 404:
      return GrpcStatus.UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
      return GrpcStatus.UNAVAILABLE;
    default:
      return GrpcStatus.UNKNOWN;
  }
};

/** The status of a stream that ended in RST_STREAM, by its HTTP/2 error code (gRPC `PROTOCOL-HTTP2.md`, Errors). */
export const statusFromReset = (errorCode: number): GrpcStatusCode => {
  switch (errorCode) {
    case 0x7: // REFUSED_STREAM
      return GrpcStatus.UNAVAILABLE;
    case 0x8: // CANCEL
      return GrpcStatus.CANCELLED;
    case 0xb: // ENHANCE_YOUR_CALM
      return GrpcStatus.RESOURCE_EXHAUSTED;
    case 0xc: // INADEQUATE_SECURITY
      return GrpcStatus.PERMISSION_DENIED;
    default:
      return GrpcStatus.INTERNAL;
  }
};
