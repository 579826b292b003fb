#!/usr/bin/env bash
# Installs, builds and runs all tests; ends with one line "N passed, N failed".
#
#   scripts/test.sh              everything
#   scripts/test.sh -R REGEX     only the ctest entries whose name matches (unit_data, ops_test, e2e_watch, ...)
#   scripts/test.sh -L LABEL     only one kind: unit ops model train sanitize parity e2e chat fault fuzz issues lint gpu
#   scripts/test.sh --no-setup   without the set-up step
#
# Builds into build/release. The time of each part stands at the end of its line.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/release
results=$build/test-results

setup=yes
filter=()
while [ $# -gt 0 ]; do
  case "$1" in
    --no-setup) setup=no ;;
    -R | -L) [ $# -ge 2 ] || { echo "test.sh: $1 needs a value" >&2; exit 2; }
             filter+=("$1" "$2"); shift ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "test.sh: unknown option '$1' (known: -R REGEX, -L LABEL, --no-setup)" >&2; exit 2 ;;
  esac
  shift
done

say() { printf '[test %4d s] %s\n' "$SECONDS" "$*"; }

# A source file that uses libtorch takes up to 1.5 GB to compile.
jobs_for_memory() {
  local by_memory by_cores
  by_memory=$(awk '/^MemAvailable:/ { print int($2 / 1572864) }' /proc/meminfo)
  by_cores=$(nproc)
  [ "$by_memory" -ge 1 ] || by_memory=1
  echo $((by_memory < by_cores ? by_memory : by_cores))
}

if [ "$setup" = yes ]; then
  "$root/scripts/setup.sh" --tests
fi
say "Configure"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSHORI_TESTS=ON -DSHORI_CUDA=AUTO
say "Build with $(jobs_for_memory) jobs"
cmake --build "$build" -j "$(jobs_for_memory)"

say "Tests"
rm -rf "$results"
mkdir -p "$results"
status=0
# Three keep two cores busy: some entries wait, for a slow client or for room on a disk.
ctest --test-dir "$build" -j 3 --output-on-failure --no-tests=error --output-junit "$results/ctest.xml" \
  ${filter[@]+"${filter[@]}"} || status=$?
say "Done"
"$root/build/deps/venv/bin/python" "$root/scripts/summarize_tests.py" "$results" || status=1
exit "$status"
