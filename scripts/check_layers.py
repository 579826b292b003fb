#!/usr/bin/env python3
"""Holds the layering: every include and every CMake link points to the same layer or to one on its left.

    util -> io -> data -> quant -> ops -> model -> optim -> train -> infer -> export -> cli

config stands aside: it knows only util, and only data, train, export and cli may include it. libtorch begins at ops. The folder
of a file is its layer (kernels/ belongs to ops). In cli, only the mains of shori-train and shori-export know layers from ops on:
what remains is shori-data, which starts without libtorch. The top level of the repository is a fixed list. Prints one line a
violation; exit 1.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ORDER = ["util", "io", "data", "quant", "ops", "model", "optim", "train", "infer", "export", "cli"]
CONFIG_USERS = {"config", "data", "train", "export", "cli"}
TORCH_MAINS = {"shori_train_main.cpp", "shori_export_main.cpp"}
TOP_LEVEL = {"CMakeLists.txt", "cmake", "include", "src", "kernels", "configs", "tests", "scripts", "README.md", "LICENSE",
             ".ci", ".clang-format", ".clang-tidy", ".gitignore"}
SOURCE_SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
TORCH = re.compile(r"^(ATen|c10|torch|caffe2)/")


def may_use(user, used):
    """Whether layer `user` may include or link layer `used`."""
    if user == used:
        return True
    if used == "config":
        return user in CONFIG_USERS
    if user == "config":
        return used == "util"
    return ORDER.index(used) < ORDER.index(user)


def may_use_torch(layer):
    return layer in ORDER and ORDER.index(layer) >= ORDER.index("ops")


def layer_of(path):
    """Layer of a path relative to the root, or None where it has none."""
    parts = path.parts
    if parts[0] == "kernels":
        return "ops"
    if parts[0] == "src" and len(parts) >= 3:
        return parts[1]
    if parts[:2] == ("include", "shori") and len(parts) >= 4:
        return parts[2]
    return None


def check_include(path, layer, quote, target):
    """Reason why the include is wrong, or None."""
    if target.startswith("shori/"):
        used = target.split("/")[1]
        if used not in ORDER and used != "config":
            return f"unknown layer '{used}'"
        if layer == "cli" and path.name not in TORCH_MAINS and may_use_torch(used):
            return "shori-data starts without libtorch, which begins at ops"
        return None if may_use(layer, used) else f"{layer} may not include {used}"
    if TORCH.match(target):
        if target == "torch/torch.h":
            return "torch/torch.h takes 20 s to compile; include what is used"
        if path.suffix in {".cu", ".cuh"}:
            return "no libtorch header in CUDA sources"
        if layer == "cli" and path.name not in TORCH_MAINS:
            return "shori-data starts without libtorch"
        return None if may_use_torch(layer) else f"{layer} may not use libtorch, which begins at ops"
    if quote == '"':
        return check_private_include(layer, Path(target))
    return None


def check_private_include(layer, target):
    """A private header lies beside its source and is named alone or by its path from the root."""
    if ".." in target.parts:
        return "no '..' in includes"
    owner = layer_of(target) if len(target.parts) > 1 else layer
    return None if owner == layer else f"a private header, only for its own layer, which is not {layer}"


def check_sources(root):
    for folder in ("include", "src", "kernels"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SOURCE_SUFFIXES:
                continue
            relative = path.relative_to(root)
            layer = layer_of(relative)
            if layer not in ORDER and layer != "config":
                yield f"{relative}: not in the folder of a layer"
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = INCLUDE.match(line)
                reason = match and check_include(relative, layer, *match.groups())
                if reason:
                    yield f"{relative}:{number}: {match.group(2)}: {reason}"


def check_cmake(root):
    text = (root / "CMakeLists.txt").read_text()
    rows = re.findall(r"^shori_layer\((\w+)([^)]*)\)", text, re.M)
    if not rows:
        yield "CMakeLists.txt: no shori_layer() found"
    for layer, rest in rows:
        words = rest.split()
        keywords = {"LINK", "TORCH", "FOLDER"}
        links = []
        if "LINK" in words:
            for word in words[words.index("LINK") + 1:]:
                if word in keywords:
                    break
                links.append(word)
        for used in links:
            if not may_use(layer, used):
                yield f"CMakeLists.txt: {layer} may not link {used}"
            if layer == "cli" and may_use_torch(used):
                yield f"CMakeLists.txt: cli is linked by shori-data, which starts without libtorch; {used} is not"
        if "TORCH" in words and (layer == "cli" or not may_use_torch(layer)):
            yield f"CMakeLists.txt: {layer} may not link libtorch, which begins at ops"


def check_top_level(root):
    """Tracked entries only: what a user keeps beside them is not ours. Without git, every entry but the build folder."""
    try:
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout.decode()
        entries = {name.split("/")[0] for name in listing.split("\0") if name}
    except (OSError, subprocess.CalledProcessError):
        entries = {entry.name for entry in root.iterdir()} - {".git", "build"}
    for entry in sorted(entries - TOP_LEVEL):
        yield f"{entry}: not in the fixed list of top-level entries"


def main():
    violations = [*check_sources(ROOT), *check_cmake(ROOT), *check_top_level(ROOT)]
    for violation in violations:
        print(violation)
    print(f"check_layers: {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
