#!/usr/bin/env bash
# Every source of ours is as clang-format 14 writes it. usage: format.sh [--fix]
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v clang-format-14 >/dev/null || { echo "clang-format-14 is not installed"; exit 77; }
mode=(--dry-run -Werror)
[ "${1:-}" != --fix ] || mode=(-i)
find core layers quant optim data apps tests third_party \( -name '*.h' -o -name '*.cpp' -o -name '*.inc' \) -print0 |
  sort -z | xargs -0 clang-format-14 --style=file "${mode[@]}"
