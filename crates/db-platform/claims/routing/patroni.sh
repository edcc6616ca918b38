#!/bin/sh
# Installs Debian's Patroni and etcd for the claim routing-6, where they are missing. Needs root.
set -eu
command -v patroni >/dev/null && command -v etcd >/dev/null && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends patroni etcd-server
