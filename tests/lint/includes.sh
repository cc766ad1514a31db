#!/usr/bin/env bash
# Includes follow the house: core <- layers, optim, data <- apps; packages are reached through third_party/*.h only.
# The build already hides folders from each other; this also covers headers that nothing includes.
set -euo pipefail
cd "$(dirname "$0")/../.."

status=0
complain() { echo "$1"; status=1; }

declare -A sees=([core]="" [layers]=core [optim]=core [data]=core [quant]="core layers"
                 [apps]="core layers quant optim data")
for folder in "${!sees[@]}"; do
  allowed="($folder|third_party${sees[$folder]:+|${sees[$folder]// /|}})"
  wrong=$(grep -rnE '^ *# *include "' --include=*.h --include=*.cpp --include=*.inc "$folder" |
    grep -v '^apps/examples/' | grep -vE "include \"$allowed/" || true)
  [ -z "$wrong" ] || complain "$folder may include only from $allowed:"$'\n'"$wrong"
done

wrong=$(grep -rnE '^ *# *include [<"](doctest/|nlohmann/|cblas|stb_|.*\.\./)' --include=*.h --include=*.cpp --include=*.inc \
  core layers quant optim data apps tests || true)
[ -z "$wrong" ] || complain "packages are included through third_party/*.h, and no path climbs:"$'\n'"$wrong"

wrong=$(grep -rLE '^#pragma once' --include=*.h core layers quant optim data apps tests third_party || true)
[ -z "$wrong" ] || complain "headers without #pragma once:"$'\n'"$wrong"
exit $status
