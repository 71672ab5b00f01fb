#!/bin/sh
# Compiles src/ to dist/ and copies what lies beside the code (pages, schemas).
#   build.sh              with all types checked; fails on a wrong one
#   build.sh --if-stale   only if src/ changed since the last build, and without checking types: a launcher must be quick, and wrong types
#                         are what `npm run check` is for. Prints nothing when there is nothing to do.
set -eu
cd "$(dirname "$0")/.."

fresh() {
  [ -f dist/.built ] && [ -z "$(find src tsconfig.json tsconfig.build.json -newer dist/.built | head -n 1)" ]
}

mode=${1:-}
if [ "$mode" = --if-stale ] && fresh; then exit 0; fi
if [ ! -f node_modules/typescript/bin/tsc ]; then
  echo 'outrider: cannot build without its dependencies; run "npm ci" first.' >&2
  exit 1
fi

# Two programs that start at once must not read each other's half-written files.
mkdir -p dist
until mkdir dist/.lock 2>/dev/null; do
  holder=$(cat dist/.lock/pid 2>/dev/null || :)
  if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then rm -rf dist/.lock; else sleep 0.1; fi
done
trap 'rm -rf dist/.lock' EXIT
trap 'exit 130' INT TERM
echo $$ >dist/.lock/pid

node=node_modules/node/bin/node
[ -x "$node" ] || node=node
types=
if [ "$mode" = --if-stale ]; then
  if fresh; then exit 0; fi
  types=--noCheck
fi
# The stamp is older than anything that is edited while the compiler runs.
touch dist/.building
"$node" node_modules/typescript/bin/tsc -p tsconfig.build.json $types
find src -type f ! -name '*.ts' ! -name '.*' | while IFS= read -r file; do
  mkdir -p "dist/$(dirname "${file#src/}")"
  cp "$file" "dist/${file#src/}"
done
mv dist/.building dist/.built
