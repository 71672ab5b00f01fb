/**
 * Makes the captured part of the corpus anew: what `node:http2`, grpc-js, curl and nghttp say to a server of `node:http2` and what it answers, and
 * certificates as Outrider and OpenSSL issue them. Run it when there is a new client to learn from; names say where a file comes from.
 *
 *     node test/fuzz/make-corpus.ts
 */
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import http2 from 'node:http2';
import net from 'node:net';
import { promisify } from 'node:util';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import {
  authorityExtensions,
  chained,
  craft,
  honest,
  issue,
  issueWithOpenssl,
  makeAuthority,
  revocationList,
} from '../identity/hostile-certificates.ts';
import { corpusFolder, writeInput } from './corpus.ts';
import { joinBlocks } from './targets/hpack.ts';
import { Act, actFrame, readFrames, type WireFrame, writeFrames } from './wire-frames.ts';

const prefaceBytes = 24;
const [headers, continuation] = [1, 9] as const;
/** Longer conversations say the same again. */
const mostBytes = 12_000;

interface Capture {
  readonly client: Buffer;
  readonly server: Buffer;
}

/** Carries bytes between a client and a server, and keeps them. */
const capture = async (talk: (port: number) => Promise<void>, answer: (stream: http2.ServerHttp2Stream) => void): Promise<Capture> => {
  const server = http2.createServer();
  server.on('stream', (stream) => {
    stream.on('error', () => {});
    answer(stream as http2.ServerHttp2Stream);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const [fromClient, fromServer]: [Buffer[], Buffer[]] = [[], []];
  const sockets: net.Socket[] = [];
  const relay = net.createServer((client) => {
    const upstream = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
    sockets.push(client, upstream);
    for (const socket of [client, upstream]) socket.on('error', () => {});
    client.on('data', (bytes: Buffer) => fromClient.push(bytes) && upstream.write(bytes));
    upstream.on('data', (bytes: Buffer) => fromServer.push(bytes) && client.write(bytes));
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  try {
    await talk((relay.address() as net.AddressInfo).port);
  } finally {
    for (const socket of sockets) socket.destroy();
    relay.close();
    server.close();
  }
  return { client: Buffer.concat(fromClient), server: Buffer.concat(fromServer) };
};

const answerGrpc = (stream: http2.ServerHttp2Stream): void => {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'x-server': 'capture' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': '' }));
  stream.on('data', (bytes: Buffer) => stream.write(bytes));
  stream.on('end', () => stream.end());
};
const answerError = (stream: http2.ServerHttp2Stream): void =>
  stream.respond(
    { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '14', 'grpc-message': 'caf%C3%A9' },
    { endStream: true },
  );
const answerPage = (stream: http2.ServerHttp2Stream): void => {
  stream.respond({ ':status': 404, 'content-type': 'text/html' });
  stream.end('<p>none</p>');
};

const byNodeHttp2 = async (port: number): Promise<void> => {
  const session = http2.connect(`http://127.0.0.1:${port}`, { settings: { initialWindowSize: 100_000, maxConcurrentStreams: 10 } });
  const one = async (path: string, body: string, cancelled = false): Promise<void> => {
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      te: 'trailers',
      'content-type': 'application/grpc',
      'grpc-timeout': '5S',
    });
    stream.on('error', () => {});
    stream.write(body);
    if (cancelled) stream.once('data', () => stream.close(http2.constants.NGHTTP2_CANCEL));
    else stream.end();
    stream.resume();
    await new Promise((resolve) => stream.once('close', resolve));
  };
  await one('/acme.Echo/Call', '\0\0\0\0\u0004ping');
  await one('/acme.Echo/Call', '\0\0\0\0\u0004ping', true);
  await one('/acme.Echo/Other', 'x'.repeat(3_000));
  await new Promise<void>((resolve) => session.ping(() => resolve()));
  await new Promise<void>((resolve) => session.close(() => resolve()));
};

const byGrpcJs = async (port: number): Promise<void> => {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  const bytes = (value: Buffer): Buffer => value;
  const metadata = new Metadata();
  metadata.set('x-tenant', 'blue');
  metadata.set('trace-bin', Buffer.from([0, 1, 2, 255]));
  for (let i = 0; i < 3; i++) {
    await new Promise<void>((resolve) => {
      client.makeUnaryRequest('/acme.Echo/Call', bytes, bytes, Buffer.from('hello'), metadata, { deadline: Date.now() + 5_000 }, () =>
        resolve(),
      );
    });
  }
  await new Promise<void>((resolve) => {
    const call = client.makeBidiStreamRequest('/acme.Echo/Chat', bytes, bytes, metadata);
    call.on('data', () => call.end());
    call.on('error', () => resolve());
    call.on('end', () => resolve());
    call.write(Buffer.from('one'));
    call.write(Buffer.from('two'));
  });
  client.close();
};

const run = promisify(execFile);
const byCurl = async (port: number): Promise<void> => {
  const url = `http://127.0.0.1:${port}`;
  await run('curl', [
    '-s',
    '--http2-prior-knowledge',
    '-m',
    '10',
    '-d',
    'some data',
    '-b',
    'a=b; c=d',
    `${url}/a?b=c`,
    `${url}/second`,
  ]).catch(() => {});
};
const byNghttp = async (port: number): Promise<void> => {
  await run('nghttp', ['-n', '-t', '10', '-m', '3', '-p', '200', '-H', 'x-a: b', `http://127.0.0.1:${port}/`]).catch(() => {});
};

/** As for the server: acts that answer, after the first frame that opens a stream. */
const withAnswers = (frames: readonly WireFrame[]): WireFrame[] => {
  const opened = new Set<number>();
  return frames.flatMap((frame) => {
    if (frame.type !== headers || opened.has(frame.id)) return [frame];
    opened.add(frame.id);
    return [
      frame,
      actFrame(Act.sendHeaders, opened.size - 1),
      actFrame(Act.sendData, opened.size - 1, 0, 30),
      actFrame(Act.sendTrailers, opened.size - 1),
    ];
  });
};
/** As for the client: a stream is open before its answer comes. */
const withOpenings = (frames: readonly WireFrame[]): WireFrame[] => {
  const opened = new Set<number>();
  return frames.flatMap((frame) => {
    if (frame.type !== headers || opened.has(frame.id)) return [frame];
    opened.add(frame.id);
    return [actFrame(Act.open, 0, 1), frame];
  });
};
const blocksOf = (frames: readonly WireFrame[]): Buffer[] => {
  const blocks: Buffer[][] = [];
  for (const { type, flags, payload } of frames) {
    if (type === headers) blocks.push([flags & 0x20 ? payload.subarray(5) : payload]);
    else if (type === continuation) blocks.at(-1)?.push(payload);
  }
  return blocks.map((parts) => Buffer.concat(parts));
};

const captures = {
  'node-http2-grpc': await capture(byNodeHttp2, answerGrpc),
  'node-http2-error': await capture(byNodeHttp2, answerError),
  'grpc-js': await capture(byGrpcJs, answerGrpc),
  'grpc-js-error': await capture(byGrpcJs, answerError),
  'curl-page': await capture(byCurl, answerPage),
  'nghttp-page': await capture(byNghttp, answerPage),
};
for (const [name, { client, server }] of Object.entries(captures)) {
  const fromClient = readFrames(client.subarray(prefaceBytes)).frames;
  const fromServer = readFrames(server).frames;
  if (fromClient.length === 0) {
    console.error(`${name}: nothing was captured; is the program there?`);
    continue;
  }
  writeInput(corpusFolder('frames'), `${name}-client.bin`, writeFrames(fromClient).subarray(0, mostBytes));
  writeInput(corpusFolder('hpack'), `${name}-client.bin`, joinBlocks(blocksOf(fromClient)).subarray(0, mostBytes));
  writeInput(corpusFolder('hpack'), `${name}-server.bin`, joinBlocks(blocksOf(fromServer)).subarray(0, mostBytes));
  const setUp = (flags: number) => Buffer.from([flags, 0, 0, 0]);
  writeInput(
    corpusFolder('connection'),
    `${name}-client.bin`,
    Buffer.concat([setUp(2), writeFrames(withAnswers(fromClient))]).subarray(0, mostBytes),
  );
  writeInput(
    corpusFolder('connection'),
    `${name}-server.bin`,
    Buffer.concat([setUp(3), writeFrames(withOpenings(fromServer))]).subarray(0, mostBytes),
  );
  const both = [...fromClient, actFrame(Act.switchSide), ...fromServer];
  for (const [listener, flags] of [
    ['outbound', 0],
    ['inbound', 1],
  ] as const) {
    writeInput(corpusFolder('proxy'), `${name}-${listener}.bin`, Buffer.concat([setUp(flags), writeFrames(both)]).subarray(0, mostBytes));
  }
}

const authority = await makeAuthority();
const rsaAuthority = await makeAuthority('rsa');
const leaf = await issue(authority, 'learner-svc');
const certificates: Readonly<Record<string, string>> = {
  leaf: leaf.cert,
  authority: authority.cert,
  'rsa-leaf': (await issue(rsaAuthority, 'learner-svc')).cert,
  'self-signed': (await craft(undefined)).cert,
  'many-names': (
    await craft(authority, {
      kind: {
        kind: 'leaf',
        dnsNames: ['a', 'b.c', '*.d'],
        uris: ['spiffe://mesh.local/service/a', 'https://x/'],
        ips: ['127.0.0.1', '::1'],
      },
    })
  ).cert,
  openssl: issueWithOpenssl(authority, { extensions: Object.values(honest), subject: '/C=AT/O=A, "B"; C/CN=learner-svc/emailAddress=a@b' })
    .cert,
  'openssl-authority': issueWithOpenssl(undefined, { extensions: [...authorityExtensions], subject: '/CN=\u00c4' }).cert,
};
for (const [name, pem] of Object.entries(certificates))
  writeInput(corpusFolder('certificates'), `${name}.der`, new X509Certificate(chained({ cert: pem, key: '' }).cert).raw);
const list = revocationList(authority, [leaf]);
writeInput(corpusFolder('certificates'), 'revocation-list.der', Buffer.from(list.replaceAll(/-----.*-----/g, ''), 'base64'));
writeInput(corpusFolder('certificates'), 'revocation-list.pem', Buffer.from(list));
