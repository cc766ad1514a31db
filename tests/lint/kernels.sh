#!/usr/bin/env bash
# No instruction of a newer processor outside the kernel file that is named for it. usage: kernels.sh BUILD
# - A kernel object exports one symbol, no weak ones (the linker might keep an AVX-512 copy of an inline function for
#   everyone) and no static constructors (they would run before dispatch). Checked in BUILD's objects and at -O0,
#   where nothing is inlined and weak copies appear.
# - No other object holds AVX instructions (x86-64 only).
set -euo pipefail
build=$1
variant='/kernels/.*/(scalar|sse4|avx[a-z0-9]*|amx|neon|dotprod|i8mm)\.cpp'
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
complain() { echo "$1"; status=1; }

check_kernel() {  # LABEL OBJECT
  local weak exported
  weak=$(nm -C "$2" | grep -E '^[0-9a-f]* +[WwVvu] ' || true)
  exported=$(nm -C "$2" | grep -cE '^[0-9a-f]+ +[TDBRSG] ' || true)
  [ -z "$weak" ] || complain "$1 has weak symbols:"$'\n'"$weak"
  [ "$exported" -eq 1 ] || complain "$1 exports $exported symbols, expected 1:"$'\n'"$(nm -C "$2" | grep -E ' [TDBRSG] ')"
  ! objdump -h "$2" | grep -qE '\.(init_array|ctors)' || complain "$1 has static constructors"
}

kernels=0
while IFS= read -r line; do
  command=$(sed -E 's/^ *"command": "//; s/",?$//; s/\\"/"/g' <<<"$line")
  object=$(sed -E 's/.* -o ([^ ]+) .*/\1/' <<<"$command")
  name=${object#*.dir/}
  check_kernel "$name" "$build/$object"
  plain=$(sed -E "s| -o [^ ]+ | -O0 -w -o $scratch/kernel.o |" <<<"$command")
  (cd "$build" && eval "$plain")
  check_kernel "$name at -O0" "$scratch/kernel.o"
  kernels=$((kernels + 1))
done < <(grep '"command"' "$build/compile_commands.json" | grep -E "$variant")
[ "$kernels" -gt 0 ] || complain "no kernel files in $build/compile_commands.json"

if [ "$(uname -m)" = x86_64 ]; then
  others=0
  while IFS= read -r object; do
    others=$((others + 1))
    found=$(objdump -d --no-show-raw-insn "$object" | grep -m1 -E '%[yz]mm|%k[0-7]|%xmm(1[6-9]|2[0-9]|3[01])|\sv[a-z][a-z0-9]* .*%xmm' || true)
    [ -z "$found" ] || complain "$object holds instructions beyond the baseline: $found"
  done < <(find "$build/CMakeFiles" "$build/third_party" -name '*.cpp.o' | grep -vE "${variant}\.o$")
  [ "$others" -gt 0 ] || complain "no objects in $build"
fi
echo "$kernels kernel files, ${others:-0} other objects"
exit $status
