import { createRequire } from 'node:module';

// grpc-js's own protobuf library, which writes descriptor sets as protoc does.
const fromLoader = createRequire(createRequire(import.meta.url).resolve('@grpc/proto-loader'));
const protobuf = fromLoader('protobufjs');
fromLoader('protobufjs/ext/descriptor');

/** What `protoc -o` makes of a proto file. */
export const descriptorSetOf = (source: string): Uint8Array => {
  const { root } = protobuf.parse(source, { keepCase: true });
  root.resolveAll();
  const set = root.toDescriptor('proto3');
  return set.constructor.encode(set).finish();
};
