import type { KeyValue } from './key-values.ts';
import { blockingAnswer, isPretty, nonEmpty, type RegistryParts, type RegistryPath, type RegistryRequest } from './path.ts';
import { json, RegistryProblem, type RegistryReply } from './reply.ts';

const entryJson = ({ key, value, flags, createIndex, modifyIndex }: KeyValue) => ({
  LockIndex: 0,
  Key: key,
  Flags: flags,
  Value: value.length === 0 ? null : value.toString('base64'),
  CreateIndex: createIndex,
  ModifyIndex: modifyIndex,
});

/** 404 without a body, but with the index from which to wait for it. */
const absent = (headers: Readonly<Record<string, string>>): RegistryReply => ({ status: 404, contentType: undefined, body: '', headers });

const rawReply = ({ value }: KeyValue, headers: Readonly<Record<string, string>>): RegistryReply => ({
  status: 200,
  contentType: 'text/plain',
  body: value,
  // A stored page must not become a page of this origin.
  headers: { ...headers, 'Content-Security-Policy': 'sandbox', 'X-Content-Type-Options': 'nosniff' },
});

/** With a separator what lies deeper is folded into one key that ends with it. */
const keysUnder = (entries: readonly KeyValue[], prefix: string, separator: string): readonly string[] => {
  const keys = new Set<string>();
  for (const { key } of entries) {
    const end = separator === '' ? -1 : key.indexOf(separator, prefix.length);
    keys.add(end < 0 ? key : key.slice(0, end + separator.length));
  }
  return [...keys];
};

const read = (parts: RegistryParts, request: RegistryRequest): Promise<RegistryReply> => {
  const { keyValues } = parts;
  const { rest, query } = request;
  const pretty = isPretty(request);
  if (query.has('keys') || query.has('recurse')) {
    const listed = query.has('keys')
      ? () => keysUnder(keyValues.under(rest), rest, query.get('separator') ?? '')
      : () => keyValues.under(rest).map(entryJson);
    return blockingAnswer(
      parts,
      request,
      () => keyValues.indexUnder(rest),
      listed,
      (found, headers) => ((found as readonly unknown[]).length === 0 ? absent(headers) : json(found, pretty, headers)),
    );
  }
  const key = nonEmpty(rest, 'Missing key name');
  return blockingAnswer(
    parts,
    request,
    () => keyValues.indexOf(key),
    () => keyValues.get(key),
    (found, headers) => {
      const entry = found as KeyValue | undefined;
      if (entry === undefined) return absent(headers);
      return query.has('raw') ? rawReply(entry, headers) : json([entryJson(entry)], pretty, headers);
    },
  );
};

const numberOf = (query: URLSearchParams, name: string): number | undefined => {
  const text = query.get(name);
  if (text === null) return undefined;
  if (/^\d{1,20}$/.test(text)) return Number(text);
  throw new RegistryProblem(500, `strconv.ParseUint: parsing ${JSON.stringify(text)}: invalid syntax`);
};

const write = ({ keyValues }: RegistryParts, request: RegistryRequest): RegistryReply => {
  const { rest, query, body } = request;
  const key = nonEmpty(rest, 'Missing key name');
  if (query.has('acquire') || query.has('release'))
    throw new RegistryProblem(500, '"outrider registry" has no sessions; production wants Consul');
  return json(keyValues.put(key, body, numberOf(query, 'flags') ?? 0, numberOf(query, 'cas')), isPretty(request));
};

const remove = ({ keyValues }: RegistryParts, request: RegistryRequest): RegistryReply => {
  const { rest, query } = request;
  if (query.has('recurse')) {
    keyValues.deleteUnder(rest);
    return json(true, isPretty(request));
  }
  return json(keyValues.delete(nonEmpty(rest, 'Missing key name'), numberOf(query, 'cas')), isPretty(request));
};

export const keyValuePaths: readonly RegistryPath[] = [
  {
    path: '/v1/kv/',
    methods: ['GET', 'PUT', 'DELETE'],
    answer: (parts, request) => {
      if (request.method === 'GET') return read(parts, request);
      return request.method === 'PUT' ? write(parts, request) : remove(parts, request);
    },
  },
];
