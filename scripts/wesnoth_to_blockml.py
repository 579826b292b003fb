#!/usr/bin/env python3
"""Turns the campaigns of the game Battle for Wesnoth into canonical BlockML.

  wesnoth_to_blockml.py --campaigns DIR... --out OUT [--held-out N]   convert, write OUT/<category>/*.blockml
  wesnoth_to_blockml.py --check DIR             assert that every .blockml file below DIR is canonical

One scenario becomes one conversation: its name -> title, the campaign's name -> tags, its story screens -> lore,
`[message] speaker=X` -> `X: "..."`, the narrator -> a message without a speaker. Conversations are sorted by the mean
length of their messages and cut into five equal groups: low, mid, high, top, top-pg13. Every N-th one is held out into
OUT/held_out instead. The campaigns are GPL-2 or later: their text is fetched when needed and never part of this
project.

WML (the game's file format) is read by a small scanner of our own: text macros with arguments, #ifdef for the normal
difficulty, strings with "" escapes, concatenation with +, raw strings <<...>>. What it cannot resolve (a macro of the
game's core, a variable such as $unit.name) is left out and counted; the counts are printed.
"""
import argparse
import collections
import pathlib
import re
import shutil
import sys

CATEGORIES = ["low", "mid", "high", "top", "top-pg13"]
HELD_OUT = "held_out"
UNRESOLVED = "\ufffc"  # stands for a macro or variable that we cannot resolve; texts that hold it are left out
MAX_EXPANSION_DEPTH = 20
DEFINED = {"NORMAL"}  # the difficulty whose text is taken

SPEAKER = re.compile(r'[^\s▀▄"_*>`:(\[][^▀▄":\n\t]{0,63}')


# ---- WML: text macros ----------------------------------------------------------------------------------------------

class Macro:
    def __init__(self, params, body):
        self.params = params
        self.defaults = dict(re.findall(r"^[ \t]*#arg[ \t]+(\w+)[ \t]*\n(.*?)^[ \t]*#endarg", body, re.S | re.M))
        self.body = re.sub(r"^[ \t]*#arg.*?^[ \t]*#endarg[^\n]*\n?", "", body, flags=re.S | re.M).rstrip("\n")


def collect_macros(text, macros):
    """Moves every #define of `text` into `macros` and returns the rest."""
    def keep(match):
        words = match.group(1).split("#")[0].split()
        macros[words[0]] = Macro(words[1:], match.group(2))
        return ""
    return re.sub(r"^[ \t]*#define[ \t]+([^\n]+)\n(.*?)^[ \t]*#enddef[^\n]*", keep, text, flags=re.S | re.M)


def take_conditionals(text):
    """Keeps the branches of #ifdef, #ifndef, #else that hold for the normal difficulty. Other #if... count as false."""
    out, taken = [], [True]
    for line in text.split("\n"):
        words = line.split()
        head = words[0] if words else ""
        if head in ("#ifdef", "#ifndef", "#ifhave", "#ifnhave", "#ifver", "#ifnver"):
            holds = head == "#ifdef" and len(words) > 1 and words[1] in DEFINED
            holds = holds or head == "#ifnver" or (head in ("#ifndef", "#ifnhave") and words[1] not in DEFINED)
            taken.append(holds)
        elif head == "#else" and len(taken) > 1:
            taken[-1] = not taken[-1]
        elif head == "#endif" and len(taken) > 1:
            taken.pop()
        elif all(taken):
            out.append(line)
    return "\n".join(out)


def end_of_call(text, start):
    """Index of the brace that closes the one at `start`, or -1."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return i
    return -1


def split_arguments(call):
    """`NAME a "b c" (d e)` -> words; quotes stay on a quoted argument, parentheses around a group go."""
    words, word, depth, in_string, brace = [], "", 0, False, 0
    for char in call:
        if char == '"' and not brace:
            in_string = not in_string
        if not in_string:
            brace += (char == "{") - (char == "}")
            if not brace and char == "(":
                depth += 1
                if depth == 1:
                    continue
            if not brace and char == ")" and depth > 0:
                depth -= 1
                if depth == 0:
                    words.append(word)
                    word = ""
                    continue
            if char.isspace() and depth == 0 and not brace:
                if word:
                    words.append(word)
                word = ""
                continue
        word += char
    if word:
        words.append(word)
    return words


class Expander:
    """Expands the macros it knows. Calls of unknown ones vanish outside strings and become UNRESOLVED inside."""

    def __init__(self, macros, names):
        self.macros = macros
        self.names = names  # unit id -> name, filled from calls such as {NAMED_LOYAL_UNIT 1 (Type) x y (id) (_ "name")}

    def call(self, inner, arguments, in_string, depth):
        inner = inner.strip()
        if inner in arguments:
            return arguments[inner]
        words = split_arguments(inner)
        if words and words[0].startswith("NAMED_") and len(words) >= 7:
            # The values may be arguments of an enclosing macro.
            unit_id, name = (self.expand(word, arguments, depth + 1) for word in words[5:7])
            self.names.setdefault(plain_value(unit_id), plain_value(name))
        macro = self.macros.get(words[0]) if words else None
        if macro is None or depth >= MAX_EXPANSION_DEPTH:
            return UNRESOLVED if in_string else ""
        values = dict(macro.defaults)
        given = [self.expand(word, arguments, depth + 1) for word in words[1:]]
        values.update(zip(macro.params, given))
        values.update(pair.split("=", 1) for pair in given if pair.split("=", 1)[0] in macro.defaults and "=" in pair)
        if any(param not in values for param in macro.params):
            return UNRESOLVED if in_string else ""
        return self.expand(macro.body, values, depth + 1)

    def expand(self, text, arguments, depth=0):
        out, i, in_string = [], 0, False
        while i < len(text):
            char = text[i]
            if not in_string and text.startswith("<<", i):
                end = text.find(">>", i)
                i = len(text) if end < 0 else end + 2
                out.append('""')
                continue
            if char == '"':
                in_string = not in_string
            if char == "#" and not in_string:
                end = text.find("\n", i)
                i = len(text) if end < 0 else end
                continue
            if char == "{":
                end = end_of_call(text, i)
                if end > 0:
                    out.append(self.call(text[i + 1:end], arguments, in_string, depth))
                    i = end + 1
                    continue
            out.append(char)
            i += 1
        return "".join(out)


# ---- WML: tags and attributes --------------------------------------------------------------------------------------

class Node:
    def __init__(self, name, parent=None):
        self.name, self.parent, self.attributes, self.children = name, parent, {}, []

    def child(self, name):
        return next((node for node in self.children if node.name == name), None)

    def walk(self):
        yield self
        for node in self.children:
            yield from node.walk()


PART = re.compile(r'[ \t]*(?:_?[ \t]*"((?:[^"]|"")*)"|((?:(?!\[/)[^"\n+])+))[ \t]*')


def read_value(text, i):
    """Value of an attribute from index i on: strings and bare words joined by +, to the end of the line."""
    value = ""
    while True:
        match = PART.match(text, i)
        if match and match.end() > i:
            quoted, bare = match.groups()
            value += quoted.replace('""', '"') if quoted is not None else bare.strip()
            i = match.end()
        if i < len(text) and text[i] == "+":
            i += 1
            while i < len(text) and text[i].isspace():
                i += 1
            continue
        if i >= len(text) or text[i] in "\n[" or not match or match.end() == match.start():
            return value, i


def plain_value(argument):
    return read_value(argument.strip().replace("\n", " "), 0)[0].strip()


TAG_OR_KEY = re.compile(r"\[(/?)\+?([a-z_0-9]+)\]|([A-Za-z_][\w,]*)[ \t]*=", re.A)


def parse(text):
    root = node = Node("")
    i = 0
    while True:
        match = TAG_OR_KEY.search(text, i)
        if not match:
            return root
        closing, tag, key = match.groups()
        i = match.end()
        if key:
            node.attributes[key], i = read_value(text, i)
        elif not closing:
            node.children.append(Node(tag, node))
            node = node.children[-1]
        elif tag == node.name:  # a closing tag of something else comes from a macro we could not expand
            node = node.parent


# ---- conversations -------------------------------------------------------------------------------------------------

REPLACEMENTS = {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "’": "'", "‘": "'", "‚": "'", "…": "...",
                "\u00a0": " ", "\u200b": "", "\u00ad": "", "\ufeff": "", "▀": "-", "▄": "-", "\r": ""}


def clean(text):
    """Prose of a WML string: no translator's prefix, no markup, plain quotes, no space at line ends."""
    text = re.sub(r"^[a-z ]+\^", "", text)
    text = re.sub(r"<i>([^<_\n]+)</i>", lambda m: f"_{m.group(1).strip()}_", text)
    text = re.sub(r"</?(?:i|b|u|s|big|small|sub|sup|tt|span|br|ref|img|bold|italic|header|format|jump)\b[^>\n]*>", "",
                  text)
    for old, new in REPLACEMENTS.items():
        text = text.replace(old, new)
    text = re.sub(r"</?s>|<unk>", "", text)
    text = "".join(char for char in text if char == "\n" or ord(char) >= 32 and ord(char) != 127)
    text = "\n".join(re.sub(r" {2,}", " ", line).strip() for line in text.split("\n"))
    return re.sub(r"\n{2,}", "\n\n", text).strip()


def is_resolved(text):
    return not any(mark in text for mark in (UNRESOLVED, "$", "<", ">"))


def spoken(text):
    """A line of dialogue between ASCII quotes; quotes inside it become '' as quotes that are not dialogue."""
    return '"' + text.strip('"').strip().replace('"', "''") + '"'


class Conversation:
    def __init__(self, name, title, tags, lore, messages):
        self.name, self.title, self.tags, self.lore, self.messages = name, title, tags, lore, messages

    def mean_length(self):
        return sum(len(text) for _, text in self.messages) / len(self.messages)

    def render(self):
        blocks = [("title", self.title), ("tags", self.tags)] + [("lore", text) for text in self.lore]
        blocks += [("message", f"{who}: {text}" if who else text) for who, text in self.messages]
        return "".join(f"▀{role}\n{body}▄\n" for role, body in blocks)


class CampaignReader:
    """Reads the scenarios of one campaign folder. `counts` says what was kept and what was left out."""

    def __init__(self, folder, counts):
        self.folder, self.counts = folder, counts
        self.macros, self.names, self.seen = {}, {}, set()

    def source(self, path):
        return take_conditionals(path.read_text(encoding="utf-8", errors="replace"))

    def conversations(self):
        main = self.source(self.folder / "_main.cfg")
        campaign = next((n for n in parse(Expander({}, {}).expand(main, {})).walk() if n.name == "campaign"), None)
        if campaign is None:
            return []
        tags = clean(campaign.attributes.get("name", self.folder.name.replace("_", " ")))
        for path in sorted((self.folder / "utils").glob("**/*.cfg")):
            collect_macros(self.source(path), self.macros)
        conversations = []
        for path in sorted((self.folder / "scenarios").glob("**/*.cfg")):
            macros = dict(self.macros)
            text = collect_macros(self.source(path), macros)
            tree = parse(Expander(macros, self.names).expand(text, {}))
            conversations += [c for node in tree.children if node.name == "scenario"
                              for c in [self.conversation(path, node, tags)] if c]
        return conversations

    def conversation(self, path, scenario, tags):
        for node in scenario.walk():
            if node.name in ("side", "unit", "leader") and "id" in node.attributes and "name" in node.attributes:
                self.names.setdefault(node.attributes["id"], node.attributes["name"])
        lore = [clean(part.attributes["story"]) for story in scenario.children if story.name == "story"
                for part in story.walk() if part.name == "part" and "story" in part.attributes]
        lore = [text for text in lore if text and is_resolved(text)]
        messages = [m for node in scenario.walk() if node.name == "message" for m in [self.message(node)] if m]
        title = clean(scenario.attributes.get("name", ""))
        if not messages or not title or not is_resolved(title):
            self.counts["scenarios without dialogue"] += 1
            return None
        name = re.sub(r"[^A-Za-z0-9._-]", "_", f"{self.folder.name}-{path.stem}")
        return Conversation(name, title, tags, ["\n\n".join(lore)] if lore else [], messages)

    def message(self, node):
        attributes = node.attributes
        text = clean(attributes.get("message", attributes.get("male_message", "")))
        who = self.speaker(node)
        if not text.strip('" '):
            return self.left_out("empty texts")
        if who is None:
            return self.left_out("speakers that the file does not name")
        if not is_resolved(text) or not is_resolved(who):
            return self.left_out("texts with a variable or markup of the game")
        if who == "" and re.match(r"[^\n]{1,64}:(?:\s|$)", text):
            return self.left_out("narration that would read as a speaker's")
        if (who, text) in self.seen:
            return self.left_out("repeated messages")
        self.seen.add((who, text))
        self.counts["messages"] += 1
        return (who, spoken(text) if who else text)

    def left_out(self, why):
        self.counts["left out: " + why] += 1

    def speaker(self, node):
        """Name of the speaker, "" for the narrator, None when the file does not say."""
        speaker = node.attributes.get("speaker", "")
        if speaker == "narrator":
            speaker = node.attributes.get("caption", "")
            if not speaker:
                return ""
        elif speaker in ("unit", "second_unit"):
            speaker = self.unit_of_event(node, "filter" if speaker == "unit" else "filter_second")
        elif not speaker:
            speaker = node.attributes.get("id", "") or node.attributes.get("type", "")
        speaker = clean(self.names.get(speaker, speaker).split(",")[0].replace("_", " "))
        return speaker if SPEAKER.fullmatch(speaker) else None

    def unit_of_event(self, node, wanted):
        while node is not None and node.name != "event":
            node = node.parent
        unit = node.child(wanted) if node else None
        return unit.attributes.get("id", "") or unit.attributes.get("type", "") if unit else ""


# ---- files ---------------------------------------------------------------------------------------------------------

def grouped(conversations, held_out_every):
    """category -> conversations. Groups differ by at most one; held-out ones are spread over all lengths."""
    ordered = sorted(conversations, key=lambda c: (c.mean_length(), c.name))
    groups = collections.defaultdict(list)
    trained = []
    for index, conversation in enumerate(ordered):
        is_held_out = held_out_every and index % held_out_every == held_out_every // 2
        (groups[HELD_OUT] if is_held_out else trained).append(conversation)
    for index, conversation in enumerate(trained):
        groups[CATEGORIES[index * len(CATEGORIES) // len(trained)]].append(conversation)
    return groups


def convert(campaigns, out, held_out_every):
    counts, conversations = collections.Counter(), []
    where = ", ".join(map(str, campaigns))
    folders = sorted({path.parent for folder in campaigns for path in folder.glob("**/_main.cfg")})
    if not folders:
        sys.exit(f"error: no campaign (a folder with _main.cfg) below {where}")
    for folder in folders:
        conversations += CampaignReader(folder, counts).conversations()
    if len(conversations) < len(CATEGORIES):
        sys.exit(f"error: only {len(conversations)} conversations found below {where}; at least 5 are needed")
    for category in CATEGORIES + [HELD_OUT]:
        shutil.rmtree(out / category, ignore_errors=True)
    groups = grouped(conversations, held_out_every)
    for category, members in groups.items():
        (out / category).mkdir(parents=True)
        for conversation in members:
            (out / category / f"{conversation.name}.blockml").write_bytes(conversation.render().encode())
    print(f"{len(folders)} campaign(s), {len(conversations)} conversations, {counts.pop('messages')} messages -> {out}")
    for category in CATEGORIES + [HELD_OUT]:
        members = groups.get(category, [])
        if members:
            lengths = [c.mean_length() for c in members]
            print(f"  {category:9} {len(members):4} conversations, {sum(len(c.messages) for c in members):5} messages,"
                  f" mean message {min(lengths):.0f} to {max(lengths):.0f} characters")
    for what, count in sorted(counts.items()):
        print(f"  {what}: {count}")


# ---- check: a second, independent reading of the canonical form ----------------------------------------------------

SEGMENT = re.compile(
    r"▀(?:(?P<role>title|tags|lore|scenario|description|message|ooc)"
    r"|message \(length: (?:nano|micro|tiny|short|medium|long|massive|huge|enormous)\))\n(?P<body>[^▀▄]+)▄\n"
    r"|\[INST\] (?P<inst>(?:(?!\[/INST\])[^▀▄])+) \[/INST\]\n")


def problems(data):
    """What keeps `data` (the bytes of a file) from being a canonical BlockML document."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return [f"byte {error.start}: not UTF-8"]
    found = [f"character U+{ord(c):04X}" for c in sorted(set(text))
             if (ord(c) < 32 and c not in "\n\t") or ord(c) in (127, 0xFEFF)]
    found += [f"literal {piece}" for piece in ("<s>", "</s>", "<unk>") if piece in text]
    position, messages = 0, 0
    while position < len(text):
        match = SEGMENT.match(text, position)
        if not match:
            return found + [f"line {text.count(chr(10), 0, position) + 1}: not a canonical segment"]
        body = match["body"] if match["body"] is not None else match["inst"]
        if body.strip(" \t\n") != body:
            found.append(f"line {text.count(chr(10), 0, position) + 1}: white space at an end of the text")
        messages += match["inst"] is None and match["role"] in (None, "message")
        position = match.end()
    return found if messages else found + ["no message"]


def check(folder):
    files = sorted(folder.glob("**/*.blockml"))
    bad = 0
    for path in files:
        for problem in problems(path.read_bytes()):
            print(f"{path}: {problem}", file=sys.stderr)
            bad += 1
    if bad or not files:
        sys.exit(f"error: {bad} problem(s) in {len(files)} file(s) below {folder}")
    print(f"{len(files)} files below {folder} are canonical BlockML")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog="see the head of this file")
    parser.add_argument("--campaigns", type=pathlib.Path, nargs="+", metavar="DIR",
                        help="folders that hold campaigns, at any depth")
    parser.add_argument("--out", type=pathlib.Path, help="folder for <category>/*.blockml")
    parser.add_argument("--held-out", type=int, default=0, metavar="N",
                        help="hold every N-th conversation out (0: none)")
    parser.add_argument("--check", type=pathlib.Path, metavar="DIR", help="only check the .blockml files below DIR")
    options = parser.parse_args()
    if options.check:
        check(options.check)
    elif options.campaigns and options.out:
        convert(options.campaigns, options.out, options.held_out)
    else:
        parser.error("give --campaigns and --out, or --check")


if __name__ == "__main__":
    main()
