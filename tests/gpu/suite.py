#!/usr/bin/env python3
"""Everything that needs a GPU: a first look, correctness, goldens, timings, training, and the same work by a peer.

  scripts/gpu_suite.sh --parts smoke --out DIR                         the first 45 seconds on a card
  scripts/gpu_suite.sh --parts smoke,ops,goldens,kernels --out DIR     two calls cover all parts: 6 minutes
  scripts/gpu_suite.sh --parts model,peer,identities --out DIR         and 8 minutes

Parts: smoke (opens the card, tiny cases of each kernel, products, attention, a small model, one timed call of each op; each step a
process of its own and a line of smoke.jsonl), ops (every test case of ops and models on the GPU, compute-sanitizer), goldens (results
of bitsandbytes' CUDA kernels, and our code against them), kernels (time of every kernel), model (a Mistral-7B of random weights:
memory and speed), peer (transformers + PEFT + bitsandbytes on the same weights, in turn with ours), identities (equal bytes).

Runs from a build (--build DIR) or from the folder that scripts/gpu_bundle.sh makes. suite.json in --out is rewritten after each step,
so a call that is cut short leaves what it measured. Exit: 0 all passed, 1 something failed, 77 nothing could run. Where nvidia-smi lists
a GPU, one that cannot be used is a failure.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import suite_kernels
import suite_model
import suite_ops
import suite_peer
import suite_run
import suite_smoke
from suite_run import Failed, Skipped, Suite

# Seconds of each part, in the order in which they run; --seconds scales them all.
PARTS = {"smoke": (suite_smoke.run_smoke, 45), "ops": (suite_ops.run_ops, 135), "goldens": (suite_ops.run_goldens, 45),
         "kernels": (suite_kernels.run_kernels, 130), "model": (suite_model.run_model, 230), "peer": (suite_peer.run_peer, 150),
         "identities": (suite_model.run_identities, 90)}


def parse_options():
    parser = argparse.ArgumentParser(prog="gpu_suite.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="some of: %(default)s")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the results, at most 8 files")
    parser.add_argument("--build", type=pathlib.Path, help="folder of a build; its bin/ holds the programs")
    parser.add_argument("--seconds", type=float, help="for the whole call (default: " +
                        ", ".join(f"{name} {seconds}" for name, (_, seconds) in PARTS.items()) + ")")
    parser.add_argument("--work", type=pathlib.Path, help="folder for the model and runs; default: in memory, else on disk")
    parser.add_argument("--emulated", action="store_true",
                        help="tries the suite itself without a GPU: tiny sizes on the CUDA emulator, times mean nothing")
    options = parser.parse_args()
    options.parts = options.parts.split(",")
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    planned = sum(PARTS[name][1] for name in options.parts)
    options.seconds = planned if options.seconds is None else options.seconds
    options.scale = options.seconds / planned
    return options


def work_folder():
    """Memory-backed where there is room for a model of 14.5 GB and its cache."""
    for folder in ["/dev/shm", tempfile.gettempdir()]:
        room = os.statvfs(folder) if os.path.isdir(folder) else None
        if room and room.f_bavail * room.f_frsize > 24e9:
            return pathlib.Path(tempfile.mkdtemp(prefix="shori-gpu-suite-", dir=folder))
    return pathlib.Path(tempfile.mkdtemp(prefix="shori-gpu-suite-"))


def run_part(suite, name):
    """Fills suite.report["parts"][name]; a part that ends early keeps the steps that it finished."""
    function, seconds = PARTS[name]
    begun = time.monotonic()
    suite.part_end = begun + seconds * suite.scale
    result = suite.report["parts"][name] = {"status": "running", "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    suite.flush()
    try:
        reason = suite.no_gpu_reason()
        if reason:
            raise (Failed if suite.gpu else Skipped)(reason)
        function(suite, result)
        result["status"] = "failed" if result.get("failures") else "passed"
    except Skipped as reason:
        result.update(status="failed" if result.get("failures") else "skipped", reason=str(reason))
    except Failed as reason:
        result.update(status="failed", reason=str(reason))
    except Exception as error:  # a mistake of the suite itself: the other parts still run
        result.update(status="failed", reason=f"{type(error).__name__}: {error}")
    result["seconds"] = round(time.monotonic() - begun, 1)
    suite.flush()
    words = "; ".join([*result.get("failures", []), *([result["reason"]] if "reason" in result else [])])
    suite.say(f"{name}: {result['status']} after {result['seconds']} s" + (f": {words}" if words else ""))
    return result["status"]


def run_parts(suite, options):
    facts = suite.gpu
    version = subprocess.run([suite.program("shori-train"), "--version"], capture_output=True, text=True, check=False).stdout.strip()
    suite.report.update(command=["scripts/gpu_suite.sh", *sys.argv[1:]], build=version, gpu=facts, emulated=options.emulated,
                        python=sys.version.split()[0])
    suite.say(f"{version}; GPU: {facts.get('name', 'none')}, driver {facts.get('driver_version', 'none')}; work in {suite.work}")
    statuses = [run_part(suite, name) for name in PARTS if name in options.parts]
    passed, failed, skipped = (statuses.count(status) for status in ("passed", "failed", "skipped"))
    suite.say(f"parts: {passed} passed, {failed} failed, {skipped} skipped; results in {options.out}")
    return 1 if failed else 0 if passed else 77


def main():
    options = parse_options()
    programs = (options.build or suite_run.ROOT) / "bin"
    work = options.work or work_folder()
    try:
        return run_parts(Suite(programs.resolve(), options.out, work, options.emulated, options.seconds, options.scale),
                         options)
    except Skipped as reason:
        sys.exit(f"gpu_suite.sh: {reason}")
    finally:
        if not options.work:
            shutil.rmtree(work, ignore_errors=True)  # the model alone takes 14.5 GB of memory


if __name__ == "__main__":
    sys.exit(main())
