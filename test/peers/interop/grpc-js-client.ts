/** Cases of gRPC's interoperability tests (grpc/doc/interop-test-descriptions.md) as a client of grpc-js. */
import assert from 'node:assert/strict';
import * as grpc from '@grpc/grpc-js';
import {
  type EchoStatus,
  echoedInitial,
  echoedTrailing,
  type Payload,
  testService,
  unimplementedService,
  zeros,
} from './grpc-js-service.ts';

interface Output {
  readonly payload: Payload;
}
type Unary = (
  request: object,
  metadata: grpc.Metadata,
  done: (error: grpc.ServiceError | null, reply: unknown) => void,
) => grpc.ClientUnaryCall;
interface TestClient extends grpc.Client {
  readonly emptyCall: Unary;
  readonly unaryCall: Unary;
  readonly unimplementedCall: Unary;
  readonly streamingOutputCall: (request: object, metadata: grpc.Metadata) => grpc.ClientReadableStream<Output>;
  readonly streamingInputCall: (
    metadata: grpc.Metadata,
    done: (error: grpc.ServiceError | null, reply?: { readonly aggregatedPayloadSize: number }) => void,
  ) => grpc.ClientWritableStream<object>;
  readonly fullDuplexCall: (metadata: grpc.Metadata, options?: grpc.CallOptions) => grpc.ClientDuplexStream<object, Output>;
}

const TestClient = grpc.makeClientConstructor(testService, 'TestService') as unknown as new (
  ...args: ConstructorParameters<typeof grpc.Client>
) => TestClient;
const UnimplementedClient = grpc.makeClientConstructor(unimplementedService, 'UnimplementedService') as unknown as typeof TestClient;

/** A client and the metadata by which the sidecar knows where its calls go. */
export interface Caller {
  readonly client: TestClient;
  readonly unimplemented: TestClient;
  readonly metadata: () => grpc.Metadata;
}

/** A client of `address` whose calls name their target in `x-target`. */
export const openCaller = (address: string, target: string, options: grpc.ClientOptions = {}): Caller & Disposable => {
  const all = { 'grpc.use_local_subchannel_pool': 1, ...options };
  const client = new TestClient(address, grpc.credentials.createInsecure(), all);
  const unimplemented = new UnimplementedClient(address, grpc.credentials.createInsecure(), all);
  const metadata = (): grpc.Metadata => {
    const sent = new grpc.Metadata();
    sent.set('x-target', target);
    return sent;
  };
  return {
    client,
    unimplemented,
    metadata,
    [Symbol.dispose]: () => {
      client.close();
      unimplemented.close();
    },
  };
};

interface UnaryEnd {
  readonly error: grpc.ServiceError | null;
  readonly reply: { readonly payload?: Payload };
  readonly initial: grpc.Metadata;
  readonly status: grpc.StatusObject;
}

const unary = (client: TestClient, method: 'emptyCall' | 'unaryCall' | 'unimplementedCall', request: object, metadata: grpc.Metadata) =>
  new Promise<UnaryEnd>((resolve) => {
    let initial = new grpc.Metadata();
    let end: Pick<UnaryEnd, 'error' | 'reply'> | undefined;
    let status: grpc.StatusObject | undefined;
    const settle = (): void => {
      if (end !== undefined && status !== undefined) resolve({ ...end, initial, status });
    };
    const call = client[method](request, metadata, (error, reply) => {
      end = { error, reply: (reply ?? {}) as UnaryEnd['reply'] };
      settle();
    });
    call.on('metadata', (received) => {
      initial = received;
    });
    call.on('status', (received) => {
      status = received;
      settle();
    });
  });

/** Everything that a stream of answers says. */
const listen = (call: grpc.ClientReadableStream<Output> | grpc.ClientDuplexStream<object, Output>, onReply?: (index: number) => void) => {
  const sizes: number[] = [];
  const ended = Promise.withResolvers<{
    readonly sizes: readonly number[];
    readonly status: grpc.StatusObject;
    readonly initial: grpc.Metadata;
  }>();
  let initial = new grpc.Metadata();
  call.on('metadata', (received: grpc.Metadata) => {
    initial = received;
  });
  call.on('data', ({ payload }: Output) => {
    sizes.push(payload.body.length);
    onReply?.(sizes.length - 1);
  });
  call.on('error', () => {});
  call.on('status', (status: grpc.StatusObject) => ended.resolve({ sizes, status, initial }));
  return ended.promise;
};

const largeRequest = 271_828;
const largeReply = 314_159;
const requestSizes = [27_182, 8, 1_828, 45_904];
const replySizes = [31_415, 9, 2_653, 58_979];

const isLarge = async ({ client, metadata }: Caller): Promise<void> => {
  const { error, reply } = await unary(client, 'unaryCall', { responseSize: largeReply, payload: zeros(largeRequest) }, metadata());
  assert.equal(error, null);
  assert.deepEqual(reply.payload?.body, Buffer.alloc(largeReply));
};

const fails = async ({ client, metadata }: Caller, responseStatus: EchoStatus): Promise<void> => {
  const { error } = await unary(client, 'unaryCall', { responseStatus }, metadata());
  assert.deepEqual([error?.code, error?.details], [responseStatus.code, responseStatus.message]);
};

const isUnimplemented = async (client: TestClient, metadata: grpc.Metadata): Promise<void> => {
  const { error } = await unary(client, 'unimplementedCall', {}, metadata);
  assert.equal(error?.code, grpc.status.UNIMPLEMENTED);
};

const tested = { code: grpc.status.UNKNOWN, message: 'test status message' };

export const cases: Readonly<Record<string, (caller: Caller) => Promise<void>>> = {
  empty_unary: async ({ client, metadata }) => {
    const { error, reply } = await unary(client, 'emptyCall', {}, metadata());
    assert.deepEqual([error, reply], [null, {}]);
  },
  large_unary: isLarge,
  client_streaming: async ({ client, metadata }) => {
    const sum = await new Promise<number | undefined>((resolve, reject) => {
      const call = client.streamingInputCall(metadata(), (error, reply) =>
        error === null ? resolve(reply?.aggregatedPayloadSize) : reject(error),
      );
      for (const size of requestSizes) call.write({ payload: zeros(size) });
      call.end();
    });
    assert.equal(sum, 74_922);
  },
  server_streaming: async ({ client, metadata }) => {
    const responseParameters = replySizes.map((size) => ({ size }));
    const { sizes, status } = await listen(client.streamingOutputCall({ responseParameters }, metadata()));
    assert.deepEqual([sizes, status.code], [replySizes, 0]);
  },
  ping_pong: async ({ client, metadata }) => {
    const call = client.fullDuplexCall(metadata());
    const say = (index: number): void => {
      const [request, size] = [requestSizes[index], replySizes[index]];
      if (request === undefined) call.end();
      else call.write({ responseParameters: [{ size }], payload: zeros(request) });
    };
    const ended = listen(call, (index) => say(index + 1));
    say(0);
    const { sizes, status } = await ended;
    assert.deepEqual([sizes, status.code], [replySizes, 0]);
  },
  empty_stream: async ({ client, metadata }) => {
    const call = client.fullDuplexCall(metadata());
    call.end();
    const { sizes, status } = await listen(call);
    assert.deepEqual([sizes, status.code], [[], 0]);
  },
  timeout_on_sleeping_server: async ({ client, metadata }) => {
    const call = client.fullDuplexCall(metadata(), { deadline: Date.now() + 20 });
    const ended = listen(call);
    call.write({ payload: zeros(27_182) });
    assert.equal((await ended).status.code, grpc.status.DEADLINE_EXCEEDED);
  },
  cancel_after_begin: async ({ client, metadata }) => {
    const code = await new Promise<number | undefined>((resolve) => {
      const call = client.streamingInputCall(metadata(), (error) => resolve(error?.code));
      // Not in the turn of its beginning: Node sends the request's headers then and never the reset, and no server hears of the end.
      setImmediate(() => setImmediate(() => call.cancel()));
    });
    assert.equal(code, grpc.status.CANCELLED);
  },
  cancel_after_first_response: async ({ client, metadata }) => {
    const call = client.fullDuplexCall(metadata());
    const ended = listen(call, () => call.cancel());
    call.write({ responseParameters: [{ size: 31_415 }], payload: zeros(27_182) });
    const { sizes, status } = await ended;
    assert.deepEqual([sizes, status.code], [[31_415], grpc.status.CANCELLED]);
  },
  status_code_and_message: async (caller) => {
    await fails(caller, tested);
    const call = caller.client.fullDuplexCall(caller.metadata());
    call.write({ responseStatus: tested });
    call.end();
    const { status } = await listen(call);
    assert.deepEqual([status.code, status.details], [tested.code, tested.message]);
  },
  special_status_message: (caller) =>
    fails(caller, { code: grpc.status.UNKNOWN, message: '\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n' }),
  custom_metadata: async ({ client, metadata }) => {
    const trailing = Buffer.from([0xab, 0xab, 0xab]);
    const sent = metadata();
    sent.set(echoedInitial, 'test_initial_metadata_value');
    sent.set(echoedTrailing, trailing);
    const one = await unary(client, 'unaryCall', { responseSize: largeReply, payload: zeros(largeRequest) }, sent);
    const call = client.fullDuplexCall(sent);
    const ended = listen(call);
    call.write({ responseParameters: [{ size: largeReply }], payload: zeros(largeRequest) });
    call.end();
    for (const { initial, status } of [one, await ended]) {
      assert.equal(status.code, 0);
      assert.deepEqual(initial.get(echoedInitial), ['test_initial_metadata_value']);
      assert.deepEqual(status.metadata.get(echoedTrailing), [trailing]);
    }
  },
  unimplemented_method: ({ client, metadata }) => isUnimplemented(client, metadata()),
  unimplemented_service: ({ unimplemented, metadata }) => isUnimplemented(unimplemented, metadata()),
  soak: async (caller) => {
    for (let i = 0; i < 10; i++) await Promise.all([isLarge(caller), isLarge(caller)]);
  },
};

/** For a client of its own, which compresses what it sends. */
export const gzip: grpc.ClientOptions = { 'grpc.default_compression_algorithm': grpc.compressionAlgorithms.gzip };
export const clientCompressed = async (caller: Caller): Promise<void> => {
  await isLarge(caller);
  await (cases['client_streaming'] as (caller: Caller) => Promise<void>)(caller);
};
