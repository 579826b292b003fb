#!/usr/bin/env bash
# Installs what building and running shori-train needs, on Debian 12, Debian 13 or Ubuntu 24.04. Safe to run again at any time.
#
#   scripts/setup.sh            compiler, libraries, libtorch, sentencepiece, tokenizer
#   scripts/setup.sh --tests    the same and the Python packages that only the tests need (torch, transformers, peft, ...)
#   scripts/setup.sh --cuda     the same and what training on a GPU needs: nvcc where there is none, libtorch's CUDA libraries
#   scripts/setup.sh --no-cuda  nothing for GPUs
#
# Without --cuda or --no-cuda: the CUDA libraries where an NVIDIA driver is, and nvcc there and with --tests.
# System packages come from apt (as root, or through sudo). Everything else goes into build/deps of this clone.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=$root/build/deps
venv=$deps/venv
log=$deps/setup.log

with_tests=no
cuda=auto
beat=
sentencepiece=
for option in "$@"; do
  case "$option" in
    --tests) with_tests=yes ;;
    --cuda) cuda=yes ;;
    --no-cuda) cuda=no ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "setup.sh: unknown option '$option' (known: --tests, --cuda, --no-cuda)" >&2; exit 2 ;;
  esac
done

packages=(g++ cmake ninja-build ccache git ca-certificates python3 python3-venv libyaml-cpp-dev nlohmann-json3-dev libcli11-dev
          libspdlog-dev libfmt-dev libcpp-httplib-dev libedit-dev pkg-config libgtest-dev libbenchmark-dev)
# The tests run the commands that messages print, among them those that unpack a file.
test_packages=(bzip2 xz-utils)

# torch is pinned: the project is built and tested with this release only. On the CPU libtorch loads, besides itself, two of its
# NVIDIA packages; they carry the versions that the full dependency tree of torch 2.11.0 asks for.
torch_packages=(torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)
base_packages=('numpy==2.4.*' 'safetensors==0.8.*')
# On a GPU it loads all of its dependency tree but triton and the Python parts.
cuda_packages=(nvidia-cublas==13.1.0.3 nvidia-cuda-nvrtc==13.0.88 nvidia-cudnn-cu13==9.19.0.56 nvidia-cufft==12.0.0.61
               nvidia-cufile==1.15.1.6 nvidia-curand==10.4.0.35 nvidia-cusolver==12.0.4.66 nvidia-cusparse==12.6.3.3
               nvidia-cusparselt-cu13==0.8.0 nvidia-nccl-cu13==2.28.9 nvidia-nvjitlink==13.0.88 nvidia-nvshmem-cu13==3.4.5
               nvidia-nvtx==13.0.85)
# nvcc of the same release, with the headers that it and the CUDA sources read.
nvcc_packages=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85
               nvidia-cublas==13.1.0.3)

sentencepiece_version=0.2.1
sentencepiece_sha256=8138cec27c2f2282f4a34d9a016e3374cd40e5c6e9cb335063db66a0a3b71fad
mistral_common_version=1.13.1
tokenizer_sha256=dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055

say() { printf '[setup %3d s] %s\n' "$SECONDS" "$*"; }

fail() {
  printf '\nsetup.sh: %s\n' "$*" >&2
  exit 1
}

# heartbeat DESCRIPTION: says every 15 s that the command is alive and what it said last. Holds neither the lock nor a pipe.
heartbeat() {
  local started=$SECONDS
  while sleep 15 >/dev/null 2>&1; do
    say "  ... $((SECONDS - started)) s: $(tail -n 1 "$log" | tr '\r' '\n' | tail -n 1 | cut -c1-90)"
  done
}

# run DESCRIPTION COMMAND...: runs with the output in the log; on failure shows what the command said last.
run() {
  local what=$1 status=0
  shift
  say "$what"
  printf '\n=== %s: %s\n' "$what" "$*" >>"$log"
  heartbeat 9>&- &
  beat=$!
  "$@" >>"$log" 2>&1 </dev/null || status=$?
  stop_heartbeat
  if [ "$status" -ne 0 ]; then
    tail -n 25 "$log" >&2
    fail "'$what' failed (exit $status). The whole output is in ${log#"$root"/}. Running setup.sh again goes on from here."
  fi
}

stop_heartbeat() {
  if [ -n "$beat" ]; then
    kill "$beat" 2>/dev/null || true
    wait "$beat" 2>/dev/null || true
    beat=
  fi
}

stop_jobs() {
  stop_heartbeat
  [ -z "$sentencepiece" ] || kill -- "-$sentencepiece" 2>/dev/null || true
}

is_done() { [ -e "$1" ] && [ "$(cat "$1")" = "$2" ]; }

sha256_is() { [ -e "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ]; }

has_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null

missing_packages() {
  local package names=("${packages[@]}")
  [ "$with_tests" = no ] || names+=("${test_packages[@]}")
  for package in "${names[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || printf '%s ' "$package"
  done
  # The tests read report pages with a browser; Debian's is installed where there is none.
  if [ "$with_tests" = yes ] && ! has_browser; then printf 'chromium '; fi
}

check_machine() {
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail "Linux on x86-64 is needed, this is $(uname -s) on $(uname -m)."
  command -v apt-get >/dev/null || fail "apt-get is not here. Debian 12, Debian 13 and Ubuntu 24.04 are supported. Elsewhere install a
C++20 compiler, CMake 3.25, Ninja, Python 3.11, and the development files of ${packages[*]:7}, then follow this script by hand."
}

# Ubuntu has Chromium as a snap alone, which a script cannot install everywhere.
check_browser() {
  if [ "$with_tests" = no ] || has_browser || ! grep -qx 'ID=ubuntu' /etc/os-release; then return; fi
  fail "The tests read report pages with a browser, and none is here. Install one, then run this again:  sudo snap install chromium
(or the package of https://www.google.com/chrome)"
}

has_driver() { command -v nvidia-smi >/dev/null || [ -e /dev/nvidiactl ]; }

# An nvcc of the release of libtorch's libraries, of this machine's toolkit.
has_nvcc() {
  local nvcc
  nvcc=$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc) && "$nvcc" --version | grep -q 'release 13\.'
}

# What of CUDA is installed: the libraries to run it, and nvcc to build it.
choose_cuda() {
  cuda_libraries=no
  nvcc=no
  [ "$cuda" != no ] || return 0
  if [ "$cuda" = yes ] || has_driver; then cuda_libraries=yes; fi
  if ! has_nvcc && { [ "$cuda_libraries" = yes ] || [ "$with_tests" = yes ]; }; then nvcc=yes; fi
}

# MB of build/deps when all that was asked for is there.
check_disk() {
  local wanted=4000 free
  [ "$cuda_libraries" = no ] || wanted=8000
  [ "$with_tests" = no ] || wanted=9000
  [ -e "$venv/.base" ] && { [ "$with_tests" = no ] || [ -e "$venv/.tests" ]; } &&
    { [ "$cuda_libraries" = no ] || [ -e "$venv/.cuda" ]; } && return
  free=$(df -Pm "$deps" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge "$wanted" ] || fail "$wanted MB of free disk space are needed under $deps, $free MB are there."
}

install_system_packages() {
  local missing as_root=()
  missing=$(missing_packages)
  if [ -z "$missing" ]; then
    say "System packages: all there"
    return
  fi
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "System packages are missing: $missing
Neither root nor sudo is at hand. Let an administrator run:  apt-get install $missing"
    sudo -n true 2>/dev/null || sudo -v || fail "sudo did not accept. Let an administrator run:  apt-get install $missing"
    as_root=(sudo)
  fi
  as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300)
  run "apt-get update" "${as_root[@]}" update
  # shellcheck disable=SC2086  # a list of package names
  run "apt-get install $missing" "${as_root[@]}" install -y --no-install-recommends $missing
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input --retries 5 "$@"; }

make_venv() {
  if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    return
  fi
  python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' ||
    fail "Python 3.11 to 3.14 is needed, python3 is $(python3 --version 2>&1)."
  run "Python environment in build/deps/venv" python3 -m venv --clear "$venv"
}

install_base_packages() {
  local key="${torch_packages[*]} ${base_packages[*]}"
  if is_done "$venv/.base" "$key"; then
    say "libtorch and Python packages: all there"
    return
  fi
  run "Python packages: ${base_packages[*]}" pip install "${base_packages[@]}"
  run "libtorch: ${torch_packages[*]} (about 550 MB to download)" pip install --no-deps "${torch_packages[@]}"
  printf '%s' "$key" >"$venv/.base"
}

# install_wheels MARK DESCRIPTION PACKAGE...: without what they depend on, which is in the list or not needed.
install_wheels() {
  local mark=$1 what=$2 key="${*:3}"
  if is_done "$venv/$mark" "$key"; then
    say "$what: all there"
    return
  fi
  run "$what" pip install --no-deps "${@:3}"
  printf '%s' "$key" >"$venv/$mark"
}

install_test_packages() {
  local key
  key=$(sha256sum "$root/tests/requirements.txt" | cut -d' ' -f1)
  if is_done "$venv/.tests" "$key"; then
    say "Python packages of the tests: all there"
    return
  fi
  run "Python packages of the tests (about 2.5 GB to download)" pip install -r "$root/tests/requirements.txt"
  printf '%s' "$key" >"$venv/.tests"
}

# Builds the static library in a folder of its own and puts it in place in one move.
build_sentencepiece() {
  local work=$deps/sentencepiece.tmp target=$deps/sentencepiece
  if is_done "$target/.version" "$sentencepiece_version"; then
    say "sentencepiece $sentencepiece_version: there"
    return
  fi
  rm -rf "$work"
  mkdir -p "$work/out/lib" "$work/out/include"
  run "sentencepiece $sentencepiece_version: download" pip download --no-deps --no-binary sentencepiece -d "$work" \
    "sentencepiece==$sentencepiece_version"
  local archive=$work/sentencepiece-$sentencepiece_version.tar.gz
  sha256_is "$archive" "$sentencepiece_sha256" ||
    fail "The downloaded sentencepiece-$sentencepiece_version.tar.gz has not the expected SHA-256 $sentencepiece_sha256."
  tar -xzf "$archive" -C "$work"
  local source=$work/sentencepiece-$sentencepiece_version/sentencepiece
  run "sentencepiece $sentencepiece_version: configure" cmake -S "$source" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_CXX_FLAGS="-O2 -fstack-protector-strong -D_GLIBCXX_ASSERTIONS" -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
    -DSPM_ENABLE_SHARED=OFF -DSPM_ENABLE_TCMALLOC=OFF
  run "sentencepiece $sentencepiece_version: build" cmake --build "$work/build" --target sentencepiece-static
  cp "$work/build/src/libsentencepiece.a" "$work/out/lib/"
  cp "$source/src/sentencepiece_processor.h" "$work/out/include/"
  printf '%s' "$sentencepiece_version" >"$work/out/.version"
  rm -rf "$target"
  mv "$work/out" "$target"
  rm -rf "$work"
}

fetch_tokenizer() {
  local target=$deps/tokenizer/tokenizer.model work=$deps/tokenizer.tmp
  if sha256_is "$target" "$tokenizer_sha256"; then
    say "Mistral v1 tokenizer: there"
    return
  fi
  rm -rf "$work"
  mkdir -p "$work" "$deps/tokenizer"
  run "Mistral v1 tokenizer: download (mistral-common $mistral_common_version)" pip download --no-deps -d "$work" \
    "mistral-common==$mistral_common_version"
  "$venv/bin/python" - "$work" <<'PYTHON'
import glob, sys, zipfile
wheel, = glob.glob(sys.argv[1] + "/mistral_common-*.whl")
with zipfile.ZipFile(wheel) as archive, open(sys.argv[1] + "/tokenizer.model", "wb") as out:
    out.write(archive.read("mistral_common/data/tokenizer.model.v1"))
PYTHON
  sha256_is "$work/tokenizer.model" "$tokenizer_sha256" ||
    fail "tokenizer.model.v1 of mistral-common $mistral_common_version has not the expected SHA-256 $tokenizer_sha256."
  mv "$work/tokenizer.model" "$target"
  rm -rf "$work"
}

announce() {
  local missing
  missing=$(missing_packages)
  echo "shori-train set-up. What is already there is kept; this run may install:"
  echo "  system packages (apt):  ${missing:-none, all there}"
  echo "  into build/deps only:   libtorch 2.11.0, numpy, safetensors, sentencepiece $sentencepiece_version, the Mistral v1 tokenizer"
  [ "$cuda_libraries" = no ] || echo "  for a GPU, there:       cuBLAS, cuDNN, NCCL and the other libraries of libtorch's CUDA part"
  [ "$nvcc" = no ] || echo "  for CUDA, there:        nvcc 13.0"
  [ "$with_tests" = no ] || echo "  for the tests, there:   torch, transformers, peft, accelerate, bitsandbytes, sentencepiece, pytest"
  echo "  logs:                   build/deps/setup.log, build/deps/sentencepiece.log"
}

mkdir -p "$deps"
exec 9>"$deps/.lock"
flock -n 9 || { say "Another setup.sh is at work in this clone; waiting for it"; flock 9; }
: >"$log"
trap stop_jobs EXIT
check_machine
check_browser
choose_cuda
announce
check_disk
install_system_packages
make_venv
install_base_packages
# Compiling takes the processor, and the packages of the tests the network: both at once, each with a log of its own. With -m the jobs
# of the first can be ended together.
set -m
(
  log=$deps/sentencepiece.log
  : >"$log"
  build_sentencepiece
) &
set +m
sentencepiece=$!
if [ "$with_tests" = yes ]; then
  install_test_packages
fi
wait "$sentencepiece" || exit 1
sentencepiece=
fetch_tokenizer
if [ "$cuda_libraries" = yes ]; then
  install_wheels .cuda "CUDA libraries (about 1.9 GB to download)" "${cuda_packages[@]}"
fi
if [ "$nvcc" = yes ]; then
  install_wheels .nvcc "nvcc (about 500 MB to download)" "${nvcc_packages[@]}"
fi
say "Ready. Everything is in build/deps."
cat <<END

Build the programs, then make them known to the shell:
  cd "$root"
  cmake -C cmake/presets/release.cmake -S . -B build/release -G Ninja && ninja -C build/release shori-train shori-data shori-export shori-chat
  export PATH="$root/build/release/bin:\$PATH"
END
