/** gRPC's TestService (grpc/doc/interop-test-descriptions.md) on grpc-js. */
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

export interface Payload {
  readonly body: Buffer;
}

export interface EchoStatus {
  readonly code: number;
  readonly message: string;
}

interface SimpleRequest {
  readonly responseSize: number;
  readonly payload: Payload | null;
  readonly responseStatus: EchoStatus | null;
}

interface OutputRequest {
  readonly responseParameters: readonly { readonly size: number; readonly intervalUs: number }[];
  readonly responseStatus: EchoStatus | null;
}

interface InputRequest {
  readonly payload: Payload | null;
}

const definition = loadSync(join(import.meta.dirname, 'test_service.proto'), { defaults: true });
export const testService = definition['grpc.testing.TestService'] as grpc.ServiceDefinition;
export const unimplementedService = definition['grpc.testing.UnimplementedService'] as grpc.ServiceDefinition;

/** What custom_metadata sends and wants back, the first in headers, the second in trailers. */
export const echoedInitial = 'x-grpc-test-echo-initial';
export const echoedTrailing = 'x-grpc-test-echo-trailing-bin';

export const zeros = (bytes: number): Payload => ({ body: Buffer.alloc(bytes) });

const trailersFor = ({ metadata }: { readonly metadata: grpc.Metadata }): grpc.Metadata => {
  const trailers = new grpc.Metadata();
  const [value] = metadata.get(echoedTrailing);
  if (value !== undefined) trailers.set(echoedTrailing, value);
  return trailers;
};

const echoInitial = (call: grpc.ServerUnaryCall<unknown, unknown> | grpc.ServerDuplexStream<unknown, unknown>): void => {
  const [value] = call.metadata.get(echoedInitial);
  if (value === undefined) return;
  const headers = new grpc.Metadata();
  headers.set(echoedInitial, value);
  call.sendMetadata(headers);
};

const errorOf = ({ code, message }: EchoStatus, metadata: grpc.Metadata): Partial<grpc.StatusObject> => ({
  code,
  details: message,
  metadata,
});

const implementation = {
  emptyCall: (_call: unknown, done: grpc.sendUnaryData<object>) => done(null, {}),
  unaryCall: (call: grpc.ServerUnaryCall<SimpleRequest, unknown>, done: grpc.sendUnaryData<object>) => {
    const { responseSize, responseStatus } = call.request;
    echoInitial(call);
    const trailers = trailersFor(call);
    if (responseStatus !== null && responseStatus.code !== 0) done(errorOf(responseStatus, trailers));
    else done(null, { payload: zeros(responseSize) }, trailers);
  },
  streamingOutputCall: (call: grpc.ServerWritableStream<OutputRequest, object>) => {
    for (const { size } of call.request.responseParameters) call.write({ payload: zeros(size) });
    call.end();
  },
  streamingInputCall: (call: grpc.ServerReadableStream<InputRequest, object>, done: grpc.sendUnaryData<object>) => {
    let aggregatedPayloadSize = 0;
    call.on('data', ({ payload }: InputRequest) => {
      aggregatedPayloadSize += payload?.body.length ?? 0;
    });
    call.on('end', () => done(null, { aggregatedPayloadSize }));
  },
  fullDuplexCall: (call: grpc.ServerDuplexStream<OutputRequest, object>) => {
    echoInitial(call);
    const trailers = trailersFor(call);
    let failed = false;
    call.on('data', ({ responseParameters, responseStatus }: OutputRequest) => {
      if (failed) return;
      if (responseStatus !== null && responseStatus.code !== 0) {
        failed = true;
        call.emit('error', errorOf(responseStatus, trailers));
        return;
      }
      for (const { size } of responseParameters) call.write({ payload: zeros(size) });
    });
    call.on('end', () => {
      if (!failed) call.end(trailers);
    });
  },
  halfDuplexCall: (call: grpc.ServerDuplexStream<OutputRequest, object>) => {
    const requests: OutputRequest[] = [];
    call.on('data', (request: OutputRequest) => requests.push(request));
    call.on('end', () => {
      for (const { responseParameters } of requests) for (const { size } of responseParameters) call.write({ payload: zeros(size) });
      call.end();
    });
  },
};

/** Starts it on loopback. Disposing ends it and its calls. */
export const startTestService = async (): Promise<Disposable & { readonly port: number }> => {
  const server = new grpc.Server();
  const { UnimplementedCall: _left, ...implemented } = testService;
  server.addService(implemented, implementation as unknown as grpc.UntypedServiceImplementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return { port, [Symbol.dispose]: () => server.forceShutdown() };
};
