import { basename, dirname } from 'node:path';
import { readDescriptorSet } from '../grpc/index.ts';
import type { PolicyText } from './document.ts';
import type { Problems } from './problems.ts';
import type { Placed } from './shape.ts';

/** Methods that the named descriptor sets declare NO_SIDE_EFFECTS or IDEMPOTENT, by full gRPC path. */
export const idempotentMethods = (
  named: readonly Placed<string>[],
  found: readonly PolicyText[],
  problems: Problems,
): ReadonlySet<string> => {
  const methods = new Set<string>();
  for (const { value: name, place } of named) {
    const folder = dirname(place.location.file);
    const file = found.find(({ path }) => basename(path) === name && dirname(path) === folder);
    if (file === undefined) {
      problems.error(
        place,
        `${JSON.stringify(name)} is not there`,
        'put the file, which ends with .binpb, .protoset or .desc, beside this one and write its name',
      );
      continue;
    }
    const set = readDescriptorSet(file.bytes);
    if (set === undefined || set.size === 0) {
      problems.error(
        place,
        `${JSON.stringify(name)} ${set === undefined ? 'is no descriptor set' : 'has no methods'}`,
        'make it with "protoc -o" or "buf build -o" from files that have services',
      );
      continue;
    }
    for (const [method, level] of set) if (level !== 'unknown') methods.add(method);
  }
  return methods;
};
