import type { Clock } from '../core/index.ts';
import type { ServingStatus } from '../grpc/index.ts';

export interface GrpcAdminOptions {
  readonly address: string;
  /** 0: the system chooses. */
  readonly port: number;
  readonly clock: Clock;
  /** Every service that can be asked for, with its state now. */
  readonly statuses: () => ReadonlyMap<string, ServingStatus>;
}

export interface GrpcAdminHandle {
  /** The one that is bound. */
  readonly port: number;
  /** Something has changed: those who watch hear it now. */
  refresh(): void;
  /** Idempotent. */
  close(): void;
}

/** Starts the gRPC server of the admin. Where nobody wants one, neither grpc-js nor protobufjs is ever loaded: about 5 MB. */
export const startGrpcAdmin = async (options: GrpcAdminOptions): Promise<GrpcAdminHandle> => {
  const { GrpcAdmin } = await import('./grpc-admin.ts');
  return GrpcAdmin.start(options);
};
