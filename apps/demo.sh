#!/usr/bin/env bash
# From a bare Debian 12 to a trained network: installs the packages, builds nibble into build/ and trains a small residual
# network on images that nibble draws itself. Takes a few minutes on two cores. usage: apps/demo.sh
set -euo pipefail
cd "$(dirname "$0")/.."

bash third_party/debian-packages.sh build
mkdir -p build
echo "building build/nibble" >&2
# The tests, if build/ has been configured with them, are not needed here.
{ cmake -G Ninja -S . -B build -DCMAKE_BUILD_TYPE=Release -DNIBBLE_BUILD_TESTS=OFF &&
  cmake --build build --target nibble_program; } >build/demo.log 2>&1 || {
  cat build/demo.log >&2
  echo "apps/demo.sh: the build failed" >&2
  exit 1
}

run=runs/demo
for ((i = 2; ; ++i)); do
  [ -e "$run" ] || break
  run=runs/demo-$i
done
linear='{"type": "graph", "input": [32, 32, 3], "nodes": [
  {"name": "flat", "type": "flatten", "inputs": ["input"]},
  {"name": "fc", "type": "linear", "in": 3072, "out": 10, "inputs": ["flat"]}]}'
echo "1 of 2: a linear classifier, to compare with" >&2
build/nibble train apps/configs/demo.json --out "$run/linear" --set /name=demo-linear --set "/model=$linear" \
  --set /optim/lr=0.01 --set /train/epochs=4 >/dev/null
echo "2 of 2: a small residual network" >&2
build/nibble train apps/configs/demo.json --out "$run/resnet" >/dev/null

# FOLDER KEY: a number from the results of a run.
result() { sed -nE "s/^ *\"$2\": *([-+.0-9e]+),?\$/\1/p" "$run/$1/results.json" | head -n 1; }
row() { printf '%-20s %11s %9.2f %% %9.0f s\n' "$1" "$(result "$2" parameters)" "$(result "$2" top1)" "$(result "$2" seconds)"; }
printf '%-20s %11s %11s %11s\n' network parameters test\ top-1 training
row 'linear classifier' linear
row 'residual network' resnet
cat <<END

The runs lie in $run/: config.json, metrics.jsonl, TensorBoard events, checkpoints and results.json of each.
Go on with
  build/nibble eval $run/resnet
  build/nibble inspect $run/resnet/last.safetensors
  build/nibble --help
END
