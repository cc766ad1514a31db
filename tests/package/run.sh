#!/usr/bin/env bash
# Installs nibble, builds apps/examples against the installed package alone, and runs what came out.
# usage: run.sh BUILD CMAKE COMPILER
set -euo pipefail
build=$1 cmake=$2 compiler=$3
source=$(cd "$(dirname "$0")/../.." && pwd)
rm -rf "$build/prefix" "$build/package"
"$cmake" --install "$build" --prefix "$build/prefix" >/dev/null
# A copy of the example, so that nothing of the source tree can be found beside it.
mkdir -p "$build/package"
cp -r "$source/apps/examples" "$build/package/source"
"$cmake" -G Ninja -S "$build/package/source" -B "$build/package/build" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$build/prefix"
"$cmake" --build "$build/package/build"
example=$build/package/build/train_custom_layer
for program in "$build/prefix/bin/nibble" "$example" "$build/package/build/custom_quantizer" \
  "$build/package/build/run_model"; do
  if ldd "$program" | grep openblas | grep -v /openblas-openmp/; then
    echo "$program found another OpenBLAS than the OpenMP build"
    exit 1
  fi
done
"$build/prefix/bin/nibble" --version
output=$("$example" 1)
echo "$output"
grep -qE '^epoch 1: test accuracy [0-9.]+ %$' <<<"$output"
# A quantizer and a backward rule of the user's in nibble's own commands.
custom=$build/package/build/custom_quantizer
"$custom" train "$build/package/source/custom_quantizer.json" --out "$build/package/run" 2>&1 | tee "$build/package/log"
sed -nE 's/^epoch [0-9]+\/3  train loss ([0-9.]+) .*/\1/p' "$build/package/log" |
  awk 'NR > 1 && $1 >= last { rising = 1 } { last = $1 } END { exit rising || NR != 3 }'
"$custom" eval "$build/package/run"
"$custom" inspect "$build/package/run/last.safetensors" | grep fixed_point
# A network on integers, from a trained checkpoint to a batch classified in C++.
"$custom" lower "$build/package/run/last.safetensors" -o "$build/package/model.nib"
[ "$("$build/package/build/run_model" "$build/package/model.nib" | grep -cE '^class [0-9]+$')" -eq 8 ]
