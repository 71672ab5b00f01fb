/**
 * A service of grpc-js whose messages are plain bytes, with the methods of `test/peers/python/grpc/echo_server.py` and one that pours.
 *
 *     node echo-service.ts [port]        prints the port that it listens on; ends by a signal
 */
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from '@grpc/grpc-js';

const same = (bytes: Buffer): Buffer => bytes;
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/echo.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});

const server = new Server({ 'grpc.max_receive_message_length': 16 << 20 });
server.addService(
  {
    Unary: method('Unary', false, false),
    Count: method('Count', false, true),
    Join: method('Join', true, false),
    Talk: method('Talk', true, true),
    Hang: method('Hang', false, true),
    Pour: method('Pour', false, true),
  },
  {
    Unary: ({ request }: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => reply(null, request),
    Count: (call: ServerWritableStream<Buffer, Buffer>) => {
      const wanted = Number(call.request);
      for (let number = 0; number < wanted; number++) call.write(Buffer.from(String(number)));
      call.end();
    },
    Join: (call: ServerReadableStream<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => {
      const parts: Buffer[] = [];
      call.on('data', (part: Buffer) => parts.push(part));
      call.on('end', () => reply(null, Buffer.concat(parts)));
    },
    Talk: (call: ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (message: Buffer) => {
        if (call.write(message)) return;
        call.pause();
        call.once('drain', () => call.resume());
      });
      call.on('end', () => call.end());
    },
    // Answers at once, and then only ends when the caller does not wait any more.
    Hang: (call: ServerWritableStream<Buffer, Buffer>) => call.write(Buffer.from('begun')),
    // `<messages> <bytes of each>`, no faster than they are taken.
    Pour: (call: ServerWritableStream<Buffer, Buffer>) => {
      const [messages = 0, bytes = 0] = String(call.request).split(' ').map(Number);
      const message = Buffer.alloc(bytes, 'p');
      let poured = 0;
      const pour = (): void => {
        while (poured < messages && !call.cancelled) {
          poured++;
          if (!call.write(message)) {
            call.once('drain', pour);
            return;
          }
        }
        call.end();
      };
      pour();
    },
  },
);
server.bindAsync(`127.0.0.1:${process.argv[2] ?? 0}`, ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) {
    console.error(error.message);
    process.exitCode = 1;
  } else console.log(port);
});
