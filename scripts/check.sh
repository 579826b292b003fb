#!/usr/bin/env bash
# Holds the tree to its style and structure, in under a minute without --tidy; a line a finding, exit 1 if there is one.
#
#   scripts/check.sh             everything; clang-tidy on the changed C++ files only
#   scripts/check.sh --no-tidy   without clang-tidy (it needs a configured build folder and takes seconds a file)
#   scripts/check.sh --fix       formats C++ files and applies what ruff can repair, then checks
#
# Changed files are those that differ from the branch point with origin/main, or those of the last commit where that is
# HEAD itself; SHORI_CHECK_BASE names another commit. The tools are the pinned ones of tests/requirements.txt, in
# build/deps/venv (scripts/setup.sh --tests).

# shellcheck disable=SC2317  # functions are called through report()
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
tools=$root/build/deps/venv/bin
build=$root/build/release
max_tidy_files=20

tidy=yes
fix=no
for option in "$@"; do
  case "$option" in
    --no-tidy) tidy=no ;;
    --fix) fix=yes ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "check.sh: unknown option '$option' (known: --no-tidy, --fix)" >&2; exit 2 ;;
  esac
done

for tool in clang-format ruff shellcheck clang-tidy; do
  [ -x "$tools/$tool" ] || { echo "check.sh: $tools/$tool is missing: run scripts/setup.sh --tests" >&2; exit 2; }
done

status=0
report() { # report NAME COMMAND...: runs the command, says how it ended
  local name=$1
  shift
  if "$@"; then echo "check: $name: ok"; else echo "check: $name: FAILED" >&2; status=1; fi
}

tracked() { git ls-files --cached --others --exclude-standard -z -- "$@"; }

changed_sources() {
  local base=${SHORI_CHECK_BASE:-}
  [ -n "$base" ] || base=$(git merge-base HEAD origin/main 2>/dev/null || true)
  if [ -z "$base" ] || [ "$(git rev-parse "$base")" = "$(git rev-parse HEAD)" ]; then base=HEAD~1; fi
  git diff --name-only --diff-filter=d "$base" -- 'src/*.cpp' 'kernels/*.cpp' 2>/dev/null | head -n "$max_tidy_files"
}

run_tidy() {
  local files=()
  mapfile -t files < <(changed_sources)
  [ ${#files[@]} -gt 0 ] || { echo "  clang-tidy: no changed sources"; return 0; }
  [ -e "$build/compile_commands.json" ] ||
    { echo "  clang-tidy: no $build/compile_commands.json: configure first (scripts/test.sh does), or --no-tidy"; return 1; }
  # Precompiled headers and some flags are g++'s own. clang-tidy 20 prints how many warnings it hid; that line is of no use.
  printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" "$tools/clang-tidy" --quiet -p "$build/tidy" --warnings-as-errors='*' \
    2> >(grep -vE '^[0-9]+ warnings?( and [0-9]+ errors?)? generated|^Suppressed|^Use -header' >&2)
}

# The compile commands without what only g++ understands. OpenMP is a part of g++, whose omp.h clang cannot read: three
# declarations take its place. Its pragmas are skipped, and change nothing that the checks look at.
make_tidy_database() {
  mkdir -p "$build/tidy/include"
  echo 'extern "C" { int omp_get_max_threads(void); int omp_get_num_threads(void); int omp_get_thread_num(void); }' >"$build/tidy/include/omp.h"
  sed -E "s/ -fpch-preprocess| -Winvalid-pch| -include [^ ]*cmake_pch[^ ]*| -fcf-protection=full/ /g
          s# -fopenmp# -D_OPENMP=201511 -I$build/tidy/include#g" \
    "$build/compile_commands.json" >"$build/tidy/compile_commands.json"
}

if [ "$fix" = yes ]; then
  tracked '*.h' '*.cpp' '*.cu' '*.cuh' | xargs -0 "$tools/clang-format" -i
  "$tools/ruff" check --quiet --fix scripts tests || true
fi
mapfile -d '' sources < <(tracked '*.h' '*.cpp' '*.cu' '*.cuh')
report "clang-format" "$tools/clang-format" --dry-run --Werror "${sources[@]}"
report "ruff" "$tools/ruff" check --quiet scripts tests
mapfile -d '' scripts < <(tracked '*.sh' .ci/run)
report "shellcheck" "$tools/shellcheck" "${scripts[@]}"
report "layers" "$tools/python" scripts/check_layers.py
report "banned calls" "$tools/python" scripts/check_banned.py
report "mutations" scripts/mutate.sh --check
if [ "$tidy" = yes ]; then
  [ ! -e "$build/compile_commands.json" ] || make_tidy_database
  report "clang-tidy" run_tidy
fi
exit "$status"
