#!/usr/bin/env python3
"""Holds the layering: every include and every CMake link points to the same layer or to one on its left.

    util -> io -> data -> quant -> ops -> model -> optim -> infer -> train -> export -> chat -> cli

Two wings meet in train: text (data) and compute (quant, ops, model, optim). The compute wing includes nothing of data. config
stands aside: it knows only util, and only data, infer, train, export, chat and cli may include it. libtorch begins at ops. The folder of a
file is its layer (kernels/ belongs to ops). Inside data, kernels, model and train the folders have an order as well (ROOMS), and
includes run along it. In cli, only the mains of shori-train, shori-export and shori-chat know layers from ops on: what remains is shori-data,
which starts without libtorch. Includes name a public header as "shori/<layer>/x.h" and a private one by its path from the root.
The top level of the repository is a fixed list. Prints one line a violation; exit 1.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ORDER = ["util", "io", "data", "quant", "ops", "model", "optim", "infer", "train", "export", "chat", "cli"]
COMPUTE = {"quant", "ops", "model", "optim"}
CONFIG_USERS = {"config", "data", "infer", "train", "export", "chat", "cli"}
# Folders of a layer, in groups: a file includes files of its own folder and of groups before its own, never of another folder of
# its own group. A public header belongs to the folder of the source with its stem; those without one are listed, and those of a step
# whose types the folders before it use.
ROOMS = {
    "data": [{"blockml"}, {"tokens"}, {"overlap", "sources", "packing"}, {"lint", "import"}, {"documents"}, {"dataset"}, {"stats"}],
    "ops": [{"common"}, {"cpu"}, {"linear", "optimizer", "checksum"}, {"lora"}, {"loss"}, {"attention", "layer"}, {"cuda"}],
    "model": [{"weights"}, {"pass"}],
    "train": [{"files"}, {"report"}, {"plan"}, {"step"}, {"screen"}, {"stage"}],
}
HEADER_ROOMS = {
    "data": {"dataset": "documents", "ledger": "documents"},
    "ops": {"tensor_view": "common", "packed_batch": "common", "linear_group": "common", "device_limits": "common"},
    "model": {"checkpointing_policy": "weights"},
    "train": {},
}
TORCH_MAINS = {"shori_train_main.cpp", "shori_export_main.cpp", "shori_chat_main.cpp"}
TOP_LEVEL = {"CMakeLists.txt", "cmake", "include", "src", "kernels", "configs", "tests", "scripts", "README.md", "LICENSE",
             ".ci", ".clang-format", ".clang-tidy", ".editorconfig", ".gitignore", ".pre-commit-config.yaml", ".ruff.toml"}
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
    if used == "data" and user in COMPUTE:
        return False
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


def rooms_of(root):
    """Folder of each file of the layers that have folders: path relative to the root -> (layer, folder)."""
    rooms, of_stem = {}, {}
    for path in sorted([*root.glob("src/*/*/*"), *root.glob("kernels/*/*")]):
        relative = path.relative_to(root)
        layer = layer_of(relative)
        if path.suffix in SOURCE_SUFFIXES and layer in ROOMS:
            rooms[str(relative)] = (layer, relative.parts[-2])
            of_stem.setdefault((layer, path.stem), relative.parts[-2])
    for path in sorted(root.glob("include/shori/*/*.h")):
        layer = path.parent.name
        if layer in ROOMS:
            room = HEADER_ROOMS[layer].get(path.stem) or of_stem.get((layer, path.stem))
            rooms[str(path.relative_to(root))] = (layer, room)
    return rooms


def group_of(layer, room):
    return next((index for index, group in enumerate(ROOMS[layer]) if room in group), None)


def check_room(rooms, relative, target):
    """Reason why an include runs against the order of the folders of its layer, or None."""
    used = rooms.get(f"include/{target}" if target.startswith("shori/") else target)
    user = rooms.get(str(relative))
    if not used or not user or used[0] != user[0] or used == user:
        return None
    if group_of(*used) is None or group_of(*user) is None:
        return f"the folder of {target if group_of(*used) is None else relative} is not in ROOMS or HEADER_ROOMS"
    return None if group_of(*used) < group_of(*user) else f"{user[1]}/ comes before or beside {used[1]}/"


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
        return check_private_include(layer, target)
    return None


def check_private_include(layer, target):
    """A private header is named by its path from the root; only its own layer includes it."""
    if target == "cuda_emulator.h":
        return None  # of the tests; kernels include it where they are compiled for the emulator
    owner = layer_of(Path(target))
    if owner is None or not target.startswith(("src/", "kernels/")):
        return "name a private header by its path from the root"
    return None if owner == layer else f"a private header of {owner}, which {layer} may not include"


def check_sources(root):
    rooms = rooms_of(root)
    for name, (layer, room) in rooms.items():
        if group_of(layer, room) is None:
            yield f"{name}: its folder '{room}' is not in ROOMS or HEADER_ROOMS"
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
                reason = match and (check_include(relative, layer, *match.groups()) or check_room(rooms, relative, match.group(2)))
                if reason:
                    yield f"{relative}:{number}: {match.group(2)}: {reason}"


def check_cmake(root):
    text = (root / "CMakeLists.txt").read_text()
    rows = re.findall(r"^shori_layer\((\w+)([^)]*)\)", text, re.M)
    if not rows:
        yield "CMakeLists.txt: no shori_layer() found"
    for layer, rest in rows:
        words = rest.split()
        keywords = {"LINK", "TORCH", "FOLDER", "HEADERS"}
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
