#!/usr/bin/env bash
# Runs one fuzzer from a corpus that it extends, starting from seeds/NAME/ here if there are any.
# usage: run.sh PROGRAM SECONDS     crashing inputs are left beside the corpus, in PROGRAM.work/
set -euo pipefail
program=$1 seconds=$2
seeds=$(cd "$(dirname "$0")" && pwd)/seeds/$(basename "$program" _fuzz)
work=$program.work
mkdir -p "$work/corpus"
corpora=("$work/corpus")
[ ! -d "$seeds" ] || corpora+=("$seeds")
exec "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 -max_len=65536 \
  -print_final_stats=1 -print_funcs=0 -verbosity=0 -artifact_prefix="$work/" "${corpora[@]}"
