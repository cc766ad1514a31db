#!/usr/bin/env bash
# The Debian packages nibble needs, and the one place that installs them.
# usage: debian-packages.sh build|test|aarch64     build: compiler and libraries; test: also what tests/run.sh uses;
#        aarch64: also what tests/aarch64.sh uses
# Needs root or sudo only if a package is missing.
set -euo pipefail

packages=(build-essential cmake ninja-build libopenblas-openmp-dev nlohmann-json3-dev libstb-dev)
case "${1:-}" in
  build) ;;
  test) packages+=(ca-certificates clang-14 clang-format-14 doctest-dev git libclang-rt-14-dev libomp-14-dev llvm-14
                   xz-utils) ;;
  aarch64) packages+=(doctest-dev g++-aarch64-linux-gnu qemu-user) ;;
  *) echo "usage: $0 build|test|aarch64" >&2; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "$0: root or sudo is needed to install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "installing: ${missing[*]}" >&2
# apt is quiet unless it fails; another apt may be at work on a fresh machine.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"; }
{ apt update && apt install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null || {
  cat "$log" >&2
  echo "$0: apt-get failed" >&2
  exit 1
}
