#!/usr/bin/env bash
# From an empty clone to a trained, resumed and exported adapter, on a CPU, with a tiny model and real text.
#
#   scripts/quickstart.sh                everything
#   scripts/quickstart.sh --no-verify    leave out the second, uninterrupted run that the resumed one is compared with
#   scripts/quickstart.sh --skip-setup   trust that scripts/setup.sh has run
#
# All it makes lies in build/: deps (set-up), release (programs), quickstart (model, data, runs, exports).
# Run it again at any time: the quick start's own runs and exports are made again.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"
home=build/quickstart
python=build/deps/venv/bin/python
train=build/release/bin/shori-train
export_program=build/release/bin/shori-export
chat=build/release/bin/shori-chat
config=configs/quickstart/quickstart.yaml
interrupted_stage=mid
verify=yes
setup=yes
for option in "$@"; do
  case "$option" in
    --no-verify) verify=no ;;
    --skip-setup) setup=no ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "quickstart.sh: unknown option '$option' (known: --no-verify, --skip-setup)" >&2; exit 2 ;;
  esac
done

part=0
title() {
  part=$((part + 1))
  printf '\n[%d/10, after %d:%02d] %s\n' "$part" $((SECONDS / 60)) $((SECONDS % 60)) "$*"
}

fail() {
  printf '\nquickstart.sh: %s\n' "$*" >&2
  exit 1
}

# Runs COMMAND with its output in LOG; a line every 20 s shows that it is alive.
quietly() {
  local log=$1 status=0 started=$SECONDS next
  shift
  "$@" >"$log" 2>&1 </dev/null &
  local pid=$!
  next=$((SECONDS + 20))
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.3
    if [ "$SECONDS" -ge "$next" ]; then
      printf '  ... %d s: %s\n' $((SECONDS - started)) "$(tail -n 1 "$log" | cut -c1-100)"
      next=$((SECONDS + 20))
    fi
  done
  wait "$pid" || status=$?
  [ "$status" -eq 0 ] || { tail -n 30 "$log" >&2; fail "this failed (exit $status): $*
The whole output is in $log."; }
}

# A source file that uses libtorch takes up to 1.5 GB to compile.
jobs_for_memory() {
  local by_memory
  by_memory=$(awk '/^MemAvailable:/ { print int($2 / 1572864) }' /proc/meminfo)
  [ "$by_memory" -ge 1 ] || by_memory=1
  echo $((by_memory < $(nproc) ? by_memory : $(nproc)))
}

sha256_of() { sha256sum "$1" | cut -d' ' -f1; }

steps_of() { grep -c '"type":"step"' "$1/metrics.jsonl" 2>/dev/null || true; }

# Trains in the background, sends Ctrl-C's signal when the chosen stage has done three steps, and returns the exit code.
train_until_interrupted() {
  local status=0 run=$home/runs/$interrupted_stage
  # A shell lets its background programs ignore SIGINT: undo that.
  env --default-signal=INT "$train" "$config" </dev/null &
  training=$!
  while kill -0 "$training" 2>/dev/null; do
    if [ "$(steps_of "$run")" -ge 3 ] 2>/dev/null; then
      printf '\n  >> sending SIGINT, as Ctrl-C does\n'
      kill -INT "$training" 2>/dev/null || true
      break
    fi
    sleep 0.05
  done
  wait "$training" || status=$?
  training=
  return "$status"
}

training=
stop() {
  [ -z "$training" ] || { kill -TERM "$training" 2>/dev/null; wait "$training" || true; }
  printf '\nquickstart.sh: stopped. What is trained lies in %s/runs. Go on with:\n  %s --resume\n' \
    "$home" "$train $config" >&2
  exit 130
}
trap stop INT TERM

mkdir -p "$home"
if [ "$setup" = yes ]; then
  title "Set-up: what is missing is installed (scripts/setup.sh)"
  scripts/setup.sh
else
  title "Set-up: left out (--skip-setup)"
fi

title "Build: the programs shori-train, shori-data, shori-export and shori-chat -> build/release/bin"
echo "  The first build takes some minutes; log: $home/build.log"
# Kernels take a while to compile and nothing could run them without a driver.
cuda=OFF
if command -v nvidia-smi >/dev/null || [ -e /dev/nvidiactl ]; then cuda=AUTO; fi
quietly "$home/configure.log" cmake -S . -B build/release -G Ninja -DCMAKE_BUILD_TYPE=Release -DSHORI_TESTS=OFF -DSHORI_CUDA=$cuda
quietly "$home/build.log" ninja -C build/release -j "$(jobs_for_memory)" shori-train shori-data shori-export shori-chat
echo "  $("$train" --version | head -n 1)"

title "Model: a tiny one of Mistral's type, random weights, the real Mistral v1 tokenizer -> $home/model"
"$python" scripts/make_tiny_model.py --preset quickstart --out "$home/model" \
  --tokenizer build/deps/tokenizer/tokenizer.model

title "Text: real English dialogue in BlockML -> $home/data"
scripts/fetch_dialogue.sh "$home/data"

title "Check: every mistake that can be known before training"
for old in runs verify adapter merged release; do
  [ ! -e "$home/$old" ] || { echo "  removing $home/$old of an earlier quick start"; rm -rf "${home:?}/$old"; }
done
"$train" "$config" --check

title "Train: low -> mid -> high -> top -> top-pg13; stage $interrupted_stage is interrupted on purpose"
status=0
train_until_interrupted || status=$?
case "$status" in
  75) echo "  exit code 75: stopped by a signal with everything saved" ;;
  0) echo "  the run was over before the signal came" ;;
  *) fail "training failed with exit code $status" ;;
esac
echo "  going on where it stopped:  $train $config --resume"
"$train" "$config" --resume

title "Proof: an interrupted stage ends with the same bytes as an uninterrupted one"
if [ "$verify" = yes ]; then
  echo "  training stage $interrupted_stage a second time, without a stop -> $home/verify"
  mkdir -p "$home/verify"
  cp -r "$home/runs/low" "$home/verify/low"
  "$train" "$config" --set "output_dir=$top/$home/verify" --only "$interrupted_stage" >"$home/verify.log" 2>&1 ||
    { tail -n 30 "$home/verify.log" >&2; fail "the second run failed, log: $home/verify.log"; }
  for file in adapter/adapter_model.safetensors metrics.jsonl; do
    resumed=$(sha256_of "$home/runs/$interrupted_stage/$file")
    untouched=$(sha256_of "$home/verify/$interrupted_stage/$file")
    printf '  %-34s resumed   %s\n  %-34s untouched %s\n' "$file" "$resumed" "" "$untouched"
    [ "$resumed" = "$untouched" ] || fail "$file of the resumed run differs from the untouched one: please report this."
  done
  echo "  the same"
else
  echo "  left out (--no-verify)"
fi

title "Export: all that is published of a model -> $home/release"
"$export_program" release "$home/runs/top-pg13" --base "$home/model" --out "$home/release" --name Quickstart

title "Chat: two messages to the model, which has seen too little to make sense -> $home/chat.blockml"
rm -f "$home/chat.blockml"
cat >"$home/scene.blockml" <<'END'
▀title
The ferry at dusk▄
▀description
Tam
A ferryman.▄
▀description
Wenna
A traveller in a hurry.▄
END
printf '%s\n' '"Is this the last boat tonight?"' '/hint tiny' '"And the price?"' "/save $home/chat.blockml" |
  "$chat" "$home/runs/top-pg13" "$home/scene.blockml" --base "$home/model" --seed 1 --max-tokens 60
build/release/bin/shori-data check "$home/chat.blockml"

title "Summary"
"$python" scripts/quickstart_summary.py "$home"
cat <<END

What was made, all in $home:
  model/     the tiny base model          data/      the text, one folder a category
  runs/      one run folder a stage: checkpoints, metrics.jsonl, train.log, the finished adapter,
             report.html with its curves; runs/report.html shows all stages

The release, $home/release:
  README.md                         the model card: read it, then publish the folder as it is
  adapter/                          load it onto the base: PeftModel.from_pretrained(base, "adapter"); vLLM: --lora-modules rp=adapter
  merged/                           load it alone: AutoModelForCausalLM.from_pretrained("merged"); vLLM serves the folder
  gguf/Quickstart-F16.gguf          llama-server -m Quickstart-F16.gguf; or make a smaller type of it with llama-quantize
  gguf/Quickstart-Q8_0.gguf         the same model in half the size, for llama.cpp, KoboldCpp, text-generation-webui
  gguf/Quickstart-LoRA-F16.gguf     the adapter for a GGUF file of the base: llama-server -m BASE.gguf --lora Quickstart-LoRA-F16.gguf
  sillytavern/BlockML.master.json   SillyTavern, Advanced Formatting, Master Import

To make the programs known to this shell (or install them: cmake --install build/release --prefix ~/.local):
  export PATH="$top/build/release/bin:\$PATH"

To go on:
  talk to it, as the programs named above do:
    $chat $home/runs/top-pg13 $home/scene.blockml
  says that all is done, trains nothing twice:
    $train $config
  trains stage high and the later ones again, as after a change of their data:
    $train $config --from high
  every key of a config:
    $train --help-keys
  the real job on Mistral-7B: configs/shori.yaml, explained in README.md
END
