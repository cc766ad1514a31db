#!/usr/bin/env bash
# Builds the tests of what must compute the same on every processor for AArch64 and runs them in an emulator: as a
# processor without dot products, with them, and with matrix products. usage: tests/aarch64.sh
set -euo pipefail
cd "$(dirname "$0")/.."
bash third_party/debian-packages.sh aarch64
build=build/aarch64
mkdir -p build
cmake -S . -B $build -G Ninja -DCMAKE_TOOLCHAIN_FILE=tests/aarch64.cmake -DCMAKE_BUILD_TYPE=MinSizeRel \
  -DCMAKE_CXX_FLAGS_MINSIZEREL="-O1 -DNDEBUG" -DNIBBLE_WITH_OPENBLAS=OFF -DNIBBLE_BUILD_TESTS=ON \
  -DOpenMP_gomp_LIBRARY="$(aarch64-linux-gnu-g++ -print-file-name=libgomp.a)" >$build.configure.log ||
  { cat $build.configure.log; exit 1; }
# Fast to compile (but for the kernels, which are -O3 in all builds): it runs for seconds.
cmake --build $build --target nibble_portable_tests
unset NIBBLE_KERNEL NIBBLE_ISA
processors=(cortex-a53:neon neoverse-n1:dotprod max,sve=off:i8mm)
pids=()
for row in "${processors[@]}"; do
  OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive NIBBLE_EXPECT_KERNEL=${row#*:} \
    qemu-aarch64 -cpu "${row%:*}" $build/tests/nibble_portable_tests >"$build/${row#*:}.log" 2>&1 &
  pids+=($!)
done
status=0
for i in "${!processors[@]}"; do
  row=${processors[i]}
  wait "${pids[i]}" || status=1
  echo "== ${row%:*}: ${row#*:}"
  cat "$build/${row#*:}.log"
done
exit $status
