export { type IdempotencyLevel, readDescriptorSet } from './descriptor-set.ts';
export { HealthResponses, healthCheckPath, healthRequest, healthWatchPath, type ServingStatus, servingStatuses } from './health.ts';
export { loadReportBinHeader, loadReportHeader, type OrcaLoadReport, parseBinaryLoadReport, parseLoadReport } from './load-report.ts';
export { decodeGrpcMessage, encodeGrpcMessage, longestGrpcMessageBytes } from './message.ts';
export { type ReasonReply, reasonTable, statusOfReason } from './reason-table.ts';
export { isGrpcContentType, isGrpcPath, isGrpcPathBytes } from './request-shape.ts';
export {
  applicationOnlyStatuses,
  GrpcStatus,
  type GrpcStatusCode,
  parseGrpcStatus,
  statusFromHttp,
  statusFromReset,
  statusName,
  statusOfName,
} from './status.ts';
export { formatGrpcTimeout, longestGrpcTimeoutBytes, parseGrpcTimeoutMs, writeGrpcTimeout } from './timeout.ts';
