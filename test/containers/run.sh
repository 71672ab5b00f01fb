#!/usr/bin/env bash
# Runs the tests that need containers: in the Docker engine of this machine, else in one that engine.sh makes from packages.
# Ends with the summary of the tests; where there is no way to an engine, with a line that says why, and 77.
#   run.sh [--small] [test files...]     --small: only what needs no images but ours and Consul's, two minutes in place of six
set -euo pipefail
cd "$(dirname "$0")/../.."

node=node_modules/.bin/node
tests=(test/containers/*.test.ts)
images=()
if [ "${1:-}" = --small ]; then
  shift
  tests=(test/containers/small-mesh.test.ts test/containers/bad-input.test.ts)
  images=(--small)
fi
[ $# -gt 0 ] && tests=("$@")
# One file after the other: each has a mesh of its own, and they would take each other's CPU.
command=("$node" --test --test-concurrency=1 --test-timeout=600000 "${tests[@]}")

if docker version >/dev/null 2>&1; then
  "$node" test/containers/images.ts --pull "${images[@]}"
  OUTRIDER_IMAGES=ready exec "${command[@]}"
fi

missing=()
for package in runc iptables mmdebstrap prometheus; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if ((${#missing[@]} > 0)) && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } || true
fi
# Not every machine lets even root have namespaces and file systems of its own.
if ! why=$({ test/containers/engine.sh prepare && test/containers/engine.sh run docker version; } 2>&1); then
  echo "skipped: tests in containers: no Docker engine, and none could be made: ${why##*$'\n'}"
  exit 77
fi
OUTRIDER_BUILD_NETWORK=host test/containers/engine.sh online "$node" test/containers/images.ts "${images[@]}"
OUTRIDER_IMAGES=ready exec test/containers/engine.sh run "${command[@]}"
