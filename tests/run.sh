#!/usr/bin/env bash
# Installs what is needed, builds everything and runs every check. usage: tests/run.sh [--quick]
#   --quick   only the GCC Release build in build/, its tests, lint and package test
# The last line is "N passed, N failed". Data sets are taken from $NIBBLE_DATA or ../shared/data; tests that need them
# say so and skip otherwise.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
case "${1:-}" in
  '') quick=false ;;
  --quick) quick=true ;;
  *) echo "usage: tests/run.sh [--quick]" >&2; exit 2 ;;
esac
exec </dev/null
unset OMP_NUM_THREADS NIBBLE_KERNEL NIBBLE_ISA
passed=0 failed=0

finish() {
  trap - EXIT
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ] || exit 1
  exit 0
}
trap finish EXIT

step() { printf '\n=== %s (%ss)\n' "$*" "$SECONDS"; }
# A step that is not a test itself: a failure counts as one.
must() { "$@" || { echo "FAILED: $*"; failed=$((failed + 1)); return 1; }; }

# Counts doctest's cases where a test is a doctest program, else one per test.
count_results() {
  local counts
  counts=$(awk '
    function flush() { if (open) { p += cases ? ok : !bad; f += cases ? (bad && !ko ? 1 : ko) : bad }; open = 0 }
    /<testcase / { flush(); open = 1; cases = ok = ko = 0; bad = /status="fail"/; skip = /status="(disabled|notrun)"/
                   if (skip) open = 0 }
    /test cases:/ { split($0, part, "|"); cases = 1; ok = part[2] + 0; ko = part[3] + 0 }
    END { flush(); print p + 0, f + 0 }' "$1") || counts="0 1"
  passed=$((passed + ${counts% *})) failed=$((failed + ${counts#* }))
}

# Sanitizers of this age stumble over kernels that randomise many address bits.
steady=()
! setarch -R true 2>/dev/null || steady=(setarch -R)

# PRESET FOLDER [MORE]: MORE goes to the build.
configure_and_build() {
  step "build $1"
  must cmake --preset "$1" >"build/$1.configure.log" 2>&1 || { cat "build/$1.configure.log"; return 1; }
  must cmake --build "${@:2}"
}
run_tests() {
  step "test $1"
  rm -f "build/$1.xml"
  "${steady[@]}" ctest --preset "$1" --test-output-truncation head --output-junit "$PWD/build/$1.xml"
  if [ -s "build/$1.xml" ]; then count_results "build/$1.xml"; else failed=$((failed + 1)); fi
}

run_aarch64() {
  step "test aarch64"
  bash tests/aarch64.sh 2>&1 | tee build/aarch64.log
  # A pipe runs in a process of its own, where counting is in vain.
  [ "${PIPESTATUS[0]}" -eq 0 ] || failed=$((failed + 1))
  passed=$((passed + $(awk -F'|' '/test cases:/ { n += $2 } END { print n + 0 }' build/aarch64.log)))
}

step "packages"
must bash third_party/debian-packages.sh test || exit
mkdir -p build

if [ -z "${NIBBLE_DATA:-}" ] && [ -f ../shared/data/unpack.sh ]; then
  step "data"
  must bash ../shared/data/unpack.sh build/data-cache && export NIBBLE_DATA="$PWD/build/data-cache"
fi
[ -n "${NIBBLE_DATA:-}" ] || echo "no data sets (NIBBLE_DATA, ../shared/data): tests on real data will be skipped"

configure_and_build release build && run_tests release
if ! $quick; then
  # Also what shows that Clang compiles everything without a warning.
  configure_and_build asan build/asan && run_tests asan
  configure_and_build tsan build/tsan --target nibble_tests && run_tests tsan
  run_aarch64
fi
step "done"
