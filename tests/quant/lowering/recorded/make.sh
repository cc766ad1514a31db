#!/usr/bin/env bash
# Writes the small lowered models of this folder anew: one of each epilogue, with random weights, calibrated on noise.
# usage: make.sh NIBBLE     Then put the hashes that `nibble bench` and recorded_test.cpp find into that test.
set -euo pipefail
nibble=$(realpath "$1")
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in fixed float; do
  "$nibble" init $name.json -o "$work/float"
  "$nibble" quantize "$work/float" --config $name.json --noise 4 -o "$work/quantized"
  "$nibble" lower "$work/quantized" -o $name.safetensors
done
