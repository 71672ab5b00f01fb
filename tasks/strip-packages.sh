#!/bin/sh
# Takes out of node_modules what is of no use at run time: types, maps, sources of TypeScript, bundles for browsers and for module systems that
# Node does not choose, tests, examples, documents. Licences stay. Then loads every production dependency: what was needed after all fails the build.
set -eu
cd "$(dirname "$0")/.."

find node_modules -type f \( -name '*.map' -o -name '*.ts' -o -name '*.cts' -o -name '*.mts' -o -name '*.tsbuildinfo' -o -name '*.markdown' \
  -o -name '*.flow' -o -name '*.swf' -o -name 'package-lock.json' -o -name '.package-lock.json' \) -delete
find node_modules -type f -name '*.md' ! -iname '*licen[cs]e*' ! -iname '*notice*' -delete
# As they stand directly in a package; a folder "test" deeper inside may be code.
for package in node_modules/* node_modules/@*/* node_modules/*/node_modules/*; do
  for folder in test tests example examples benchmark benchmarks doc docs .github coverage; do rm -rf "${package:?}/$folder"; done
done
# OpenTelemetry brings each module three times; `require` and `import` of Node take build/src.
rm -rf node_modules/@opentelemetry/*/build/esm node_modules/@opentelemetry/*/build/esnext
rm -rf node_modules/node-forge/dist node_modules/node-forge/flash node_modules/protobufjs/dist node_modules/yaml/browser node_modules/bintrees/dist \
  node_modules/@types node_modules/undici-types node_modules/.bin
find node_modules -depth -type d -empty -delete

node --input-type=module -e '
  import { readFileSync } from "node:fs";
  const { dependencies } = JSON.parse(readFileSync("package.json", "utf8"));
  // The one that is a page for browsers and has no code for Node.
  for (const name of Object.keys(dependencies)) if (name !== "uplot") await import(name);
  await import("./dist/cli/index.js");'
