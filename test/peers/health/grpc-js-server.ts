/**
 * A server of grpc-js with the health service of the `grpc-health-check` package, neither written here. Prints its port. SIGUSR2 makes it say
 * NOT_SERVING, and SERVING again. `acme.Echo/Say` answers with its process id.
 */
import * as grpc from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';

const asIs = (bytes: Buffer): Buffer => bytes;
const server = new grpc.Server();
const health = new HealthImplementation({ '': 'SERVING', 'acme.Echo': 'SERVING' });
health.addToServer(server);
server.addService(
  {
    Say: {
      path: '/acme.Echo/Say',
      requestStream: false,
      responseStream: false,
      requestSerialize: asIs,
      requestDeserialize: asIs,
      responseSerialize: asIs,
      responseDeserialize: asIs,
    },
  },
  { Say: (_call: unknown, reply: grpc.sendUnaryData<Buffer>) => reply(null, Buffer.from(String(process.pid))) },
);
let serving = true;
process.on('SIGUSR2', () => {
  serving = !serving;
  for (const name of ['', 'acme.Echo']) health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
});
server.bindAsync(`127.0.0.1:${process.argv[2] ?? 0}`, grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.stdout.write(`${port}\n`);
});
