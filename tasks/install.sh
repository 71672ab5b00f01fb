#!/bin/sh
# Installs what package-lock.json names, unless node_modules holds exactly that. Needs any Node and npm 10 or later; everything after it runs
# on the Node that it brings.
set -eu
cd "$(dirname "$0")/.."
if ! node tasks/installed.js; then
  echo 'Installing dependencies (once)...' >&2
  # 1>&2: stdout is for results.
  npm ci --include=dev --loglevel=error 1>&2
fi
# Where install scripts are switched off, the pinned Node still has to arrive.
if [ ! -x node_modules/node/bin/node ]; then
  (cd node_modules/node && node installArchSpecificPackage.js) 1>&2
fi
