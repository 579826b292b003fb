#!/usr/bin/env bash
# Collects what scripts/gpu_suite.sh needs into one folder that runs on another machine with an NVIDIA GPU.
#
#   scripts/gpu_bundle.sh OUT [--build build/release]
#
# The other machine needs x86-64 Linux with glibc 2.34 or newer, and a Python with torch 2.11.0 and its NVIDIA packages; for the
# part `peer` also transformers, peft and accelerate. There:  OUT/scripts/gpu_suite.sh --out RESULTS
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/release
out=
most_mib=40
while [ $# -gt 0 ]; do
  case "$1" in
    --build) [ $# -ge 2 ] || { echo "gpu_bundle.sh: --build needs a folder" >&2; exit 2; }; build=$2; shift ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    -*) echo "gpu_bundle.sh: unknown option '$1' (known: --build)" >&2; exit 2 ;;
    *) out=$1 ;;
  esac
  shift
done

fail() {
  echo "gpu_bundle.sh: $*" >&2
  exit 1
}

[ -n "$out" ] || fail "no folder given: scripts/gpu_bundle.sh OUT"
[ ! -e "$out" ] || [ -z "$(ls -A "$out")" ] || fail "$out is there and not empty"
deps=$root/build/deps
programs=(shori-train shori-export ops_gpu_test model_gpu_test golden_test kernel_bench)
for program in "${programs[@]}"; do
  [ -x "$build/bin/$program" ] || fail "$build/bin/$program is missing: build ${programs[*]} first"
done

mkdir -p "$out/bin" "$out/scripts" "$out/tests/gpu" "$out/tests/golden" "$out/python" "$out/build/deps/tokenizer"
for program in "${programs[@]}"; do
  # Without debug symbols and without the folders of this machine: libraries are found by LD_LIBRARY_PATH there.
  strip -o "$out/bin/$program" "$build/bin/$program"
done
cp "$root"/scripts/{gpu_suite.sh,make_golden.py,make_tiny_model.py} "$out/scripts/"
cp "$root"/tests/gpu/*.py "$out/tests/gpu/"
[ ! -d "$root/tests/golden" ] || cp -r "$root/tests/golden/." "$out/tests/golden/"
cp "$deps/tokenizer/tokenizer.model" "$out/build/deps/tokenizer/"
cp "$root/LICENSE" "$out/"

# bitsandbytes is seldom there; of its many libraries only the one for libtorch's CUDA release.
site=$(echo "$deps"/venv/lib/python3*/site-packages)
if [ -d "$site/bitsandbytes" ]; then
  (cd "$site" && find bitsandbytes bitsandbytes-*.dist-info -type f ! -name '*.pyc' \
    \( ! -name 'libbitsandbytes_*.so' -o -name libbitsandbytes_cuda130.so -o -name libbitsandbytes_cpu.so \) -print0 |
    xargs -0 cp --parents -t "$(cd "$root" && realpath "$out/python")")
else
  echo "gpu_bundle.sh: no bitsandbytes in $site (scripts/setup.sh --tests installs it): left out"
fi

size=$(du -sm "$out" | cut -f1)
[ "$size" -le "$most_mib" ] || fail "$out is $size MiB, more than $most_mib MiB"
echo "$out: $size MiB, $(find "$out" -type f | wc -l) files, $("$build/bin/shori-train" --version)"
