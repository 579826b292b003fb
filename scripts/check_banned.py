#!/usr/bin/env python3
"""Finds calls and texts that must not be in the tree. Prints one line a find; exit 1.

- Loaders that run or mis-read hostile files: libtorch's pickle loaders, the binary formats of nlohmann/json (they recurse
  without a limit), yaml-cpp's Load (every YAML file goes through the guarded reader of util/yaml.h).
- Below cli/: ending the process, printing. Errors are thrown, only a program's main decides what is printed and how it ends.
- Memory-mapped files in the product: a file cut short while mapped is a SIGBUS, not an error message.
- Marks of unfinished work, and paths of the machine the text was written on.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE_SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
TEXT_SUFFIXES = CODE_SUFFIXES | {".py", ".sh", ".txt", ".cmake", ".in", ".md", ".yaml", ".yml", ".json", ".jsonl"}
PRODUCT = ("include", "src", "kernels")

# Anywhere in C++ code, tests included.
LOADERS = re.compile(r"\b(torch::load|torch::jit::load|torch::pickle_load|pickle_load|from_cbor|from_bson|from_msgpack"
                     r"|from_ubjson|from_bjdata|YAML::Load\w*)\s*\(")
# In the product.
MAPPING = re.compile(r"\bmmap(?:64)?\s*\(")
# In the product below cli. A forked child ends with _exit, which is not meant here.
ENDING = re.compile(r"(?<![\w.>])(?:exit|abort|quick_exit|terminate)\s*\(")
PRINTING = re.compile(r"\bstd::(?:cout|cerr|clog)\b|(?<!\w)v?f?printf\s*\(|(?<!\w)puts\s*\(")
# In every text file.
UNFINISHED = re.compile(r"\b(?:" + "|".join(["TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK"]) + r")\b")
HOME_FOLDERS = re.compile(r"(?<![\w.])/(?:home/(?!anon/)|root/|Users/)\w+")

COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|R"([^\s()\\]{0,16})\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.S)


def strip_code(text):
    """The code with comments and literals blanked, line numbers kept."""
    return COMMENT_OR_STRING.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), text)


def tracked_files(root):
    """Files under version control or about to be; without git, all but the build folder."""
    try:
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listing = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode()
        names = [name for name in listing.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = [str(path.relative_to(root)) for path in root.rglob("*")
                 if path.relative_to(root).parts[0] not in {".git", "build"}]
    return sorted(name for name in set(names) if (root / name).is_file())


def own_paths(root):
    """Expression for the paths of this very checkout and of the user's home; None where they say nothing."""
    places = {str(root), str(Path.home())} - {"/", "/root"}
    places = [re.escape(place) for place in sorted(places)]
    return re.compile(r"(?<![\w.])(?:" + "|".join(places) + r")/\w") if places else None


def rules_for_code(name):
    parts = Path(name).parts
    rules = [(LOADERS, "unsafe loader")]
    if parts[0] in PRODUCT:
        rules.append((MAPPING, "memory-mapped file"))
        if parts[:2] != ("src", "cli"):
            rules += [(ENDING, "ends the process below cli"), (PRINTING, "prints below cli")]
    return rules


def find_in(text, rules):
    for expression, reason in rules:
        for match in expression.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, match.group(0).strip(), reason


def check_file(name, text_rules):
    text = (ROOT / name).read_text(errors="replace")
    yield from find_in(text, text_rules)
    if Path(name).suffix in CODE_SUFFIXES:
        yield from find_in(strip_code(text), rules_for_code(name))


def main():
    own = own_paths(ROOT)
    text_rules = [(UNFINISHED, "unfinished work"), (HOME_FOLDERS, "path of one machine")]
    if own:
        text_rules.append((own, "path of this checkout"))
    finds = 0
    for name in tracked_files(ROOT):
        path = Path(name)
        if path.suffix in TEXT_SUFFIXES or path.parent.name == ".ci":
            for line, found, reason in check_file(name, text_rules):
                print(f"{name}:{line}: '{found}': {reason}")
                finds += 1
    print(f"check_banned: {finds} finds")
    return 1 if finds else 0


if __name__ == "__main__":
    sys.exit(main())
