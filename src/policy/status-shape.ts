import { GrpcStatus } from '../grpc/index.ts';
import { word } from './shape.ts';

/** A gRPC status that is a failure, as gRPC or as retry_on spells it. */
export const statusShape = word(
  Object.keys(GrpcStatus).filter((name): name is Exclude<keyof typeof GrpcStatus, 'OK'> => name !== 'OK'),
  // As retry_on spells them.
  Object.fromEntries(
    Object.keys(GrpcStatus).flatMap((name) =>
      name === 'OK' ? [] : [[name.toLowerCase().replaceAll('_', '-'), name as Exclude<keyof typeof GrpcStatus, 'OK'>]],
    ),
  ),
);
