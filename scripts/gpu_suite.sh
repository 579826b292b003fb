#!/usr/bin/env bash
# Proves and measures everything that needs a GPU: see `scripts/gpu_suite.sh --help`.
#
#   scripts/gpu_suite.sh --build build/release --out OUT     from a build
#   scripts/gpu_suite.sh --out OUT                           from the folder that scripts/gpu_bundle.sh makes
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${SHORI_PYTHON:-}
if [ -z "$python" ]; then
  python=$root/build/deps/venv/bin/python
  [ -x "$python" ] || python=python3
fi

# The libraries of libtorch and of its NVIDIA packages, which the programs of a bundle find by these folders alone.
folders=$("$python" - <<'PYTHON'
import glob, importlib.util, os, sys
spec = importlib.util.find_spec("torch")
if spec is None:
    sys.exit("gpu_suite.sh: this Python has no torch; set SHORI_PYTHON to one that has torch 2.11.0")
torch = spec.submodule_search_locations[0]
nvidia = glob.glob(os.path.join(os.path.dirname(torch), "nvidia", "*", "lib"))
print(":".join([os.path.join(torch, "lib"), *sorted(nvidia)]))
PYTHON
)
export LD_LIBRARY_PATH=$folders${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PYTHONDONTWRITEBYTECODE=1
export SHORI_TEST_DATA=${SHORI_TEST_DATA:-$root/tests}
export SHORI_TOKENIZER=${SHORI_TOKENIZER:-$root/build/deps/tokenizer/tokenizer.model}
exec "$python" "$root/tests/gpu/suite.py" "$@"
