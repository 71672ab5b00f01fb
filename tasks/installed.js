// Exit code 0 if node_modules holds what package-lock.json names. Plain JavaScript: it runs on whatever Node the machine has.
import { readFileSync } from 'node:fs';

const packagesOf = (path) => {
  try {
    return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')).packages;
  } catch {
    return {};
  }
};

const wanted = packagesOf('../package-lock.json');
const present = packagesOf('../node_modules/.package-lock.json');
const isInstalled = ([path, { version, integrity, optional }]) => {
  const there = present[path];
  return there === undefined ? optional === true : there.version === version && there.integrity === integrity;
};
process.exitCode = Object.entries(wanted)
  .filter(([path]) => path !== '')
  .every(isInstalled)
  ? 0
  : 1;
