#!/usr/bin/env bash
# A Docker engine with compose for a machine that has none and may reach no image registry: everything comes from Debian packages and npm.
# Needs root on Debian 12 or later, and: apt-get install -y --no-install-recommends runc iptables mmdebstrap
#   engine.sh prepare          unpacks the engine, and makes the base image node:26-bookworm-slim of a bootstrapped Debian and the Node of npm (once, about a minute)
#   engine.sh run COMMAND...   runs the command with an engine in network, mount and process namespaces of its own, gone with it: bridge networks,
#                              names of services, published ports (inside only), health checks and limits work; nothing outside can be reached
#   engine.sh online COMMAND.. the same in the network of the machine, so that builds reach registries ("docker build --network host"); without bridges
# What is kept lies in OUTRIDER_ENGINE, by default ~/.cache/outrider/engine (1.5 GB).
set -euo pipefail

readonly node_major=26
readonly base_image=node:26-bookworm-slim
readonly home=${OUTRIDER_ENGINE:-${XDG_CACHE_HOME:-$HOME/.cache}/outrider/engine}
readonly programs=$home/programs rootfs=$home/rootfs

fail() {
  printf 'engine.sh: %s\n' "$1" >&2
  exit 2
}

# The engine of Debian 13, only unpacked: no service of this machine is touched. runc is that of this machine.
unpack_engine() {
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 '/debian/\?$') || fail 'no mirror of Debian in the sources of apt'
  mkdir -p "$home/apt/lists/partial" "$home/apt/cache/archives/partial" "$programs"
  echo "deb [signed-by=$keyring] $mirror trixie main" >"$home/apt/sources.list"
  local options=(-qq -o "Dir::Etc::sourcelist=$home/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$home/apt/lists"
    -o "Dir::Cache=$home/apt/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$home/apt/cache" && apt-get "${options[@]}" download docker.io docker-cli containerd docker-compose docker-buildx)
  for package in "$home"/apt/cache/*.deb; do dpkg-deb -x "$package" "$programs"; done
  mkdir -p "$home/config/cli-plugins"
  ln -sf "$programs"/usr/libexec/docker/cli-plugins/* "$home/config/cli-plugins/"
  rm -rf "$home/apt"
}

# What the official image has, as far as ours uses it: bookworm, Node and npm in /usr/local, the user node.
make_base() {
  local mirror
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 '/debian/\?$')
  npm install --silent --no-audit --no-fund --prefix "$home/node" "node@$node_major" npm@11
  rm -rf "$rootfs"
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,libatomic1,libstdc++6 --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$rootfs" "$mirror"
  install -m755 "$home/node/node_modules/node/bin/node" "$rootfs/usr/local/bin/node"
  mkdir -p "$rootfs/usr/local/lib/node_modules" "$rootfs/usr/local/etc"
  cp -a "$home/node/node_modules/npm" "$rootfs/usr/local/lib/node_modules/"
  for name in npm npx; do ln -sf "../lib/node_modules/npm/bin/$name-cli.js" "$rootfs/usr/local/bin/$name"; done
  # A registry behind an authority of this machine's own is trusted inside as well.
  cp /usr/local/share/ca-certificates/*.crt "$rootfs/usr/local/share/ca-certificates/" 2>/dev/null || true
  chroot "$rootfs" update-ca-certificates >/dev/null 2>&1
  echo cafile=/etc/ssl/certs/ca-certificates.crt >"$rootfs/usr/local/etc/npmrc"
  chroot "$rootfs" sh -c 'groupadd -g 1000 node && useradd -u 1000 -g node -s /bin/bash -m node'
  rm -rf "$rootfs"/var/lib/apt/lists/* "$rootfs"/var/cache/apt/*.bin "$rootfs/etc/resolv.conf" "$rootfs/etc/hostname"
  "$0" online sh -c "tar -C '$rootfs' -c . | docker import -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' -c 'CMD [\"node\"]' - $base_image >/dev/null"
  rm -rf "$rootfs" "$home/node"
}

prepare() {
  [ "$(id -u)" = 0 ] || fail 'needs root'
  for tool in runc iptables mmdebstrap; do
    command -v "$tool" >/dev/null || PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null || fail "$tool is missing; apt-get install -y --no-install-recommends runc iptables mmdebstrap"
  done
  mkdir -p "$home"
  [ -f "$home/.engine" ] || { unpack_engine && touch "$home/.engine"; }
  [ -f "$home/.base" ] || { make_base && touch "$home/.base"; }
}

# In namespaces of its own, the first process of which takes all others with it.
within() {
  local network=$1
  shift
  local namespaces=(-m -p -f --mount-proc --kill-child)
  [ "$network" = private ] && namespaces+=(-n)
  # One at a time: they share what the engine keeps.
  exec flock "$home/lock" unshare "${namespaces[@]}" "$BASH" "$0" inside "$network" "$@"
}

inside() {
  local network=$1 flags=()
  shift
  export PATH=$programs/usr/sbin:$programs/usr/bin:$PATH:/usr/sbin:/sbin DOCKER_HOST=unix:///run/outrider-engine.sock DOCKER_CONFIG=$home/config
  mount -t tmpfs none /run
  # containerd wants to write there.
  mount -t tmpfs none /opt
  if [ "$network" = private ]; then ip link set lo up; else flags=(--bridge=none --iptables=false --ip6tables=false --ip-forward=false); fi
  dockerd -H "$DOCKER_HOST" --data-root "$home/data" --exec-root /run/docker --pidfile /run/dockerd.pid --storage-driver overlay2 "${flags[@]}" \
    >"$home/dockerd-$network.log" 2>&1 &
  local daemon=$! status=0
  for ((i = 0; i < 120; i++)); do
    docker version >/dev/null 2>&1 && break
    kill -0 "$daemon" 2>/dev/null || { tail -n 20 "$home/dockerd-$network.log" >&2; exit 1; }
    sleep 0.25
  done
  # What a run left behind that was cut off would start again with the engine.
  docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes >/dev/null
  docker network prune --force >/dev/null
  docker volume prune --all --force >/dev/null
  "$@" || status=$?
  kill "$daemon"
  wait "$daemon" || true
  # The control groups of the namespace outlive it.
  find /sys/fs/cgroup -depth -type d -path '*/docker*' -exec rmdir {} + 2>/dev/null || true
  exit "$status"
}

case ${1:-} in
  prepare) prepare ;;
  run) within private "${@:2}" ;;
  online) within machine "${@:2}" ;;
  inside) inside "${@:2}" ;;
  *) fail 'prepare, run COMMAND... or online COMMAND...' ;;
esac
