#!/usr/bin/env bash
# Downloads CIFAR-10 (binary version, 170 MB) and unpacks it into DEST/cifar-10-batches-bin.
# usage: get_cifar10.sh [DEST]     DEST: default "datasets", where nibble looks. Does nothing if the set is there whole.
# The archive is checked against its published MD5; the folder appears only when everything in it is complete.
set -euo pipefail
url=${CIFAR10_URL:-https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz}
md5=c32a1d4ab5d03f1284b67883e8d87530
case ${1:-} in
  -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
  -*) echo "get_cifar10.sh: unknown option '$1' (usage: get_cifar10.sh [DEST])" >&2; exit 2 ;;
esac
dest=${1:-datasets}
folder=$dest/cifar-10-batches-bin

whole() {
  local file
  for file in data_batch_{1..5}.bin test_batch.bin; do
    [ "$(stat -c %s "$folder/$file" 2>/dev/null)" = 30730000 ] || return 1
  done
}

if whole; then
  echo "CIFAR-10 is already in $folder" >&2
  exit 0
fi
if [ -e "$folder" ]; then
  echo "get_cifar10.sh: $folder exists but is not whole (expected six files of 30730000 bytes); remove it first" >&2
  exit 1
fi
mkdir -p "$dest"
work=$(mktemp -d "$dest/.cifar10.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
if command -v curl >/dev/null; then
  curl --fail --location --retry 3 --output "$work/archive.tar.gz" "$url"
elif command -v wget >/dev/null; then
  wget --tries 3 --output-document "$work/archive.tar.gz" "$url"
else
  echo "get_cifar10.sh: needs curl or wget (Debian: apt-get install curl)" >&2
  exit 1
fi
found=$(md5sum "$work/archive.tar.gz" | cut -d ' ' -f 1)
if [ "$found" != "$md5" ]; then
  echo "get_cifar10.sh: $url has MD5 $found, expected $md5: the download is damaged" >&2
  exit 1
fi
tar -xzf "$work/archive.tar.gz" -C "$work"
mv "$work/cifar-10-batches-bin" "$folder"
whole || { echo "get_cifar10.sh: the archive lacks some of its files" >&2; exit 1; }
echo "CIFAR-10 is in $folder" >&2
