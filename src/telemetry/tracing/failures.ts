import type { Fate } from '../../core/index.ts';
import { GrpcStatus } from '../../grpc/index.ts';
import { statusBits } from '../../resilience/index.ts';

const errors = statusBits([
  GrpcStatus.UNKNOWN,
  GrpcStatus.DEADLINE_EXCEEDED,
  GrpcStatus.UNIMPLEMENTED,
  GrpcStatus.INTERNAL,
  GrpcStatus.UNAVAILABLE,
  GrpcStatus.DATA_LOSS,
]);

/** What a service answers when something went wrong with it, and not with what was asked of it (semantic conventions for gRPC, server spans). */
export const serverErrors = (grpcStatus: number): boolean => grpcStatus < 32 && ((errors >> grpcStatus) & 1) === 1;

/** Whether a call is worth a look by itself: what a caller gave up, and answers about what was asked, are not. */
export const hasFailed = (fate: Fate, grpcStatus: number): boolean => {
  if (fate === 'ok' || fate === 'cancelled') return false;
  return fate !== 'app_error' || serverErrors(grpcStatus);
};
