#!/usr/bin/env bash
# Fuzzes every reader for SECONDS each. usage: tests/fuzz.sh [SECONDS=60]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
bash third_party/debian-packages.sh test
cmake --preset asan >/dev/null
cmake --build build/asan
# Sanitizers of this age stumble over kernels that randomise many address bits.
steady=()
! setarch -R true 2>/dev/null || steady=(setarch -R)
for program in build/asan/tests/fuzz/*_fuzz; do
  echo "== $(basename "$program"), $seconds s"
  "${steady[@]}" bash tests/fuzz/run.sh "$program" "$seconds"
done
