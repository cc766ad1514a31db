#!/usr/bin/env bash
# From a bare Debian 12 to networks that compute on integers and bits: installs the packages, builds nibble into build/,
# trains a small residual network on images that nibble draws itself, quantizes it to 8 bits and fine-tunes it to one and
# two (LSQ, LQ-Nets), lowers all of them, and compares accuracy, size and speed. Takes six to nine minutes on two cores.
# usage: apps/demo.sh
set -euo pipefail
cd "$(dirname "$0")/.."

bash third_party/debian-packages.sh build
mkdir -p build
echo "building build/nibble" >&2
# The tests are not needed here; where build/ has been configured with them, it stays so.
options=(-DCMAKE_BUILD_TYPE=Release)
[ -f build/CMakeCache.txt ] || options+=(-DNIBBLE_BUILD_TESTS=OFF)
{ cmake -G Ninja -S . -B build "${options[@]}" &&
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
fine_tune() {  # NAME CONFIG
  build/nibble train "apps/configs/$2" --out "$run/$1" --set "/train/init=$run/float/last.safetensors" >/dev/null
}
echo "1 of 7: a linear classifier, to compare with" >&2
build/nibble train apps/configs/demo.json --out "$run/linear" --set /name=demo-linear --set "/model=$linear" \
  --set /optim/lr=0.01 --set /train/epochs=4 >/dev/null
echo "2 of 7: a small residual network" >&2
build/nibble train apps/configs/demo.json --out "$run/float" >/dev/null
echo "3 of 7: the same at 8 bits, calibrated (affine quantizers, folded batch norm)" >&2
mkdir -p "$run/affine"
build/nibble quantize "$run/float" --config apps/configs/demo-affine.json -o "$run/affine/last.safetensors" >/dev/null
echo "4 of 7: the same at 2 bits by LSQ (learned step size)" >&2
fine_tune lsq demo-lsq.json
echo "5 of 7: the same at 2 bits by LQ-Nets (learned levels)" >&2
fine_tune lq demo-lq.json
echo "6 of 7: 1-bit weights and 2-bit activations by LQ-Nets" >&2
fine_tune lq1 demo-lq-1bit.json
echo "7 of 7: lowering, checking and measuring" >&2

# KEY: a number at the top level of the JSON that is read.
number() { sed -nE "s/^  \"$1\": *([-+.0-9e]+),?\$/\1/p" | head -n 1; }
# LABEL BITS COMPUTED_IN MODEL BYTES [OPTION_OF_EVAL]
row() {
  local top1 rate
  top1=$(build/nibble eval "$4" --json ${6:+"$6"} | number top1)
  rate=$(build/nibble bench "$4" --threads 1 --json | number images_per_second)
  printf '%-26s %8s  %-16s %9s %9.2f %% %10.0f\n' "$1" "$2" "$3" "$5" "$top1" "$rate"
}
# LABEL BITS NAME: a row for the fake-quantized network and one for the lowered one.
rows() {
  local checkpoint=$run/$3/last.safetensors model=$run/$3.nib kinds
  kinds=$(build/nibble lower "$checkpoint" -o "$model" --explain | sed -nE 's/^ *engine ([a-z0-9]+).*/\1/p' | sort -u | paste -sd+)
  row "$1" "$2" 'fake quantizers' "$checkpoint" "$(build/nibble inspect "$checkpoint" --json | number size_bytes)" --in-float
  row '' '' "$kinds" "$model" "$(wc -c <"$model")"
  verdicts+="$(printf '%-26s %s' "$1" "$(build/nibble verify "$checkpoint" "$model" | tail -n 1)")"$'\n'
}
verdicts=
printf '%-26s %8s  %-16s %9s %11s %10s\n' network 'bits w/a' 'computed in' 'bytes' 'test top-1' 'images/s'
for name in linear float; do
  label='linear classifier'
  [ $name = linear ] || label='residual network'
  row "$label" 32/32 float "$run/$name/last.safetensors" \
    "$(build/nibble inspect "$run/$name/last.safetensors" --json | number size_bytes)"
done
rows 'affine, calibrated' 8/8 affine
rows 'LSQ' 2/2 lsq
rows 'LQ-Nets' 2/2 lq
rows 'LQ-Nets' 1/2 lq1
cat <<END

Images per second are of one image at a time on one core. In the networks of few bits the first convolution and the
classifier stay in float; the bytes of fake-quantized networks are what their weights take when packed, those of lowered
ones are the file's. nibble verify runs both forms over test images, edge by edge:
$verdicts
The runs lie in $run/: config.json, metrics.jsonl, TensorBoard events, checkpoints and results.json of each.
Go on with
  build/nibble verify $run/lq $run/lq.nib
  build/nibble lower $run/lq --explain
  build/nibble --help
END
