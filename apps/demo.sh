#!/usr/bin/env bash
# From a bare Debian 12 to a trained and quantized network: installs the packages, builds nibble into build/, trains a
# small residual network on images that nibble draws itself, and fine-tunes it to 2-bit weights and activations with LSQ
# and LQ-Nets. Takes a few minutes on two cores. usage: apps/demo.sh
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
echo "1 of 4: a linear classifier, to compare with" >&2
build/nibble train apps/configs/demo.json --out "$run/linear" --set /name=demo-linear --set "/model=$linear" \
  --set /optim/lr=0.01 --set /train/epochs=4 >/dev/null
echo "2 of 4: a small residual network" >&2
build/nibble train apps/configs/demo.json --out "$run/float" >/dev/null
echo "3 of 4: the same at 2 bits by LSQ (learned step size)" >&2
build/nibble train apps/configs/demo-lsq.json --out "$run/lsq" --set "/train/init=$run/float/last.safetensors" >/dev/null
echo "4 of 4: the same at 2 bits by LQ-Nets (learned levels)" >&2
build/nibble train apps/configs/demo-lq.json --out "$run/lq" --set "/train/init=$run/float/last.safetensors" >/dev/null

# KEY: a number at the top level of the JSON that is read.
number() { sed -nE "s/^  \"$1\": *([-+.0-9e]+),?\$/\1/p" | head -n 1; }
result() { number "$2" <"$run/$1/results.json"; }
# LABEL BITS FOLDER
row() {
  printf '%-26s %8s %12s %9.2f %% %9.0f s\n' "$1" "$2" \
    "$(build/nibble inspect "$run/$3/last.safetensors" --json | number size_bytes)" \
    "$(result "$3" top1)" "$(result "$3" seconds)"
}
printf '%-26s %8s %12s %11s %11s\n' network 'bits w/a' 'size, bytes' 'test top-1' training
row 'linear classifier' 32/32 linear
row 'residual network' 32/32 float
row 'residual network, LSQ' 2/2 lsq
row 'residual network, LQ-Nets' 2/2 lq
cat <<END

2/2 stands for all layers but the first convolution and the classifier, which stay in float.
The runs lie in $run/: config.json, metrics.jsonl, TensorBoard events, checkpoints and results.json of each.
Go on with
  build/nibble eval $run/lsq
  build/nibble inspect $run/lsq/last.safetensors
  build/nibble --help
END
