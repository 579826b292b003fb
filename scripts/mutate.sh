#!/usr/bin/env bash
# Plants faults one at a time in a copy of HEAD, builds what a test needs, and demands that the test fails.
#
#   scripts/mutate.sh [NAME...]   NAME: a patch of tests/mutations or a folder of it, `io/seal_digest` or `io`; all without one
#   scripts/mutate.sh --list      the table: patch, targets, test, fault
#   scripts/mutate.sh --check     whether every patch applies to the working tree and has its head; a line a finding
#
# The head of a patch is three lines: `fault: WHAT`, `build: TARGET...`, and `test: COMMAND`, which is a program of bin/ or a
# Python test of tests/, with arguments. The copy is build/mutations/tree, built in build/mutations/tree/build/release with the
# compiler cache of the other builds. A test that fails without the fault catches nothing, so each is run without it first.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
patches=$root/tests/mutations
tree=$root/build/mutations/tree
build=$tree/build/release
log=$root/build/mutations/last.log
test_limit=900

names() { # names [NAME...]: of the patches, without .patch
  local name
  [ $# -gt 0 ] || set -- .
  for name in "$@"; do
    if [ -d "$patches/$name" ]; then
      find "$patches/$name" -name '*.patch'
    elif [ -f "$patches/$name.patch" ]; then
      echo "$patches/$name.patch"
    else
      echo "mutate.sh: tests/mutations has no '$name'" >&2
      return 2
    fi
  done | sed -E "s|^$patches/(\\./)?||; s|\\.patch\$||" | sort
}

head_of() { sed -n "s/^$2: //p" "$patches/$1.patch"; } # head_of NAME FIELD

list() {
  local name
  names | while read -r name; do
    printf '%s | %s | %s | %s\n' "$name" "$(head_of "$name" build)" "$(head_of "$name" test)" "$(head_of "$name" fault)"
  done
}

check() {
  local name field bad=0
  while read -r name; do
    git -C "$root" apply --check "$patches/$name.patch" || { echo "tests/mutations/$name.patch does not apply" >&2; bad=1; }
    for field in fault build test; do
      [ "$(head_of "$name" "$field" | wc -l)" -eq 1 ] ||
        { echo "tests/mutations/$name.patch: its head has no line '$field: '" >&2; bad=1; }
    done
  done < <(names)
  return "$bad"
}

make_copy() {
  local commit
  commit=$(git -C "$root" rev-parse HEAD)
  git -C "$root" worktree prune
  [ -e "$tree/.git" ] || git -C "$root" worktree add --quiet --detach "$tree" "$commit"
  git -C "$tree" checkout --quiet --force --detach "$commit"
  mkdir -p "$tree/build"
  ln -sfn "$root/build/deps" "$tree/build/deps"
  cmake -S "$tree" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSHORI_TESTS=ON -DSHORI_CUDA=OFF >"$log" 2>&1 ||
    { cat "$log" >&2; return 1; }
}

build_targets() { # build_targets NAME: to the log
  local targets
  read -ra targets <<<"$(head_of "$1" build)"
  ninja -C "$build" "${targets[@]}" >"$log" 2>&1
}

run_test() { # run_test NAME: to the log
  local words
  read -ra words <<<"$(head_of "$1" test)"
  case "${words[0]}" in
    *.py) words=("$SHORI_PYTHON" -m pytest -q -x -p no:cacheprovider "--rootdir=$tree/tests" "$tree/tests/${words[0]}" "${words[@]:1}") ;;
    *) words=("$build/bin/${words[0]}" "${words[@]:1}") ;;
  esac
  timeout "$test_limit" "${words[@]}" >"$log" 2>&1 || return
  # A filter that names no test passes.
  ! grep -qE '^\[  PASSED  \] 0 tests|no tests ran' "$log"
}

passes_without_fault() { # passes_without_fault NAME
  local key
  key="$(head_of "$1" build) | $(head_of "$1" test)"
  case "$passed" in *"<$key>"*) return 0 ;; esac
  build_targets "$1" && run_test "$1" || return 1
  passed+="<$key>"
}

verdict_of() { # verdict_of NAME: caught, survived, or why neither
  passes_without_fault "$1" || { echo "fails without the fault"; return; }
  git -C "$tree" apply "$patches/$1.patch" 2>"$log" || { echo "does not apply"; return; }
  if ! build_targets "$1"; then
    echo "does not build"
  elif run_test "$1"; then
    echo "SURVIVED"
  else
    echo "caught"
  fi
  git -C "$tree" checkout --quiet --force
}

mutate() {
  local name verdict begin caught=0 others=()
  make_copy
  export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$tree
  export SHORI_TEST_DATA=$tree/tests SHORI_TOKENIZER=$root/build/deps/tokenizer/tokenizer.model SHORI_BIN_DIR=$build/bin
  export SHORI_PYTHON=$root/build/deps/venv/bin/python SHORI_SOURCE_DIR=$tree PYTHONPATH=$tree/tests/support/programs
  export OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1
  passed=""
  while read -r name; do
    begin=$SECONDS
    verdict_of "$name" >"$root/build/mutations/verdict"
    verdict=$(cat "$root/build/mutations/verdict")
    printf '%-24s %s (%d s)\n' "$verdict" "$name" $((SECONDS - begin))
    if [ "$verdict" = caught ]; then caught=$((caught + 1)); else others+=("$name: $verdict"); fi
  done < <(names "$@")
  echo "$caught caught, ${#others[@]} not"
  for name in ${others[@]+"${others[@]}"}; do
    echo "  $name: $(head_of "${name%%:*}" fault)"
  done
  [ ${#others[@]} -eq 0 ]
}

mkdir -p "$root/build/mutations"
case "${1:-}" in
  -h | --help) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
  --list) list ;;
  --check) check ;;
  -*) echo "mutate.sh: unknown option '$1' (known: --list, --check)" >&2; exit 2 ;;
  *) mutate "$@" ;;
esac
