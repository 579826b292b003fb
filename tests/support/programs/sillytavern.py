"""How SillyTavern makes a prompt of its presets, from the documented behaviour of its fields. Nothing is taken from its sources."""
import re

PART = re.compile(r"\{\{#if (\w+)\}\}(.*?)\{\{/if\}\}", re.S)
NAME = re.compile(r"\{\{(\w+)\}\}")


def fill(template, values):
    """Handlebars with {{#if x}}…{{/if}}, not nested, and {{x}}; then the macros {{char}} and {{user}} in what was filled in."""
    text = PART.sub(lambda part: part[2] if values.get(part[1]) else "", template)
    return NAME.sub(lambda name: values.get(name[1], ""), NAME.sub(lambda name: values.get(name[1], ""), text))


def story(context, values):
    text = fill(context["story_string"], values).lstrip("\n")
    assert "{{" not in text, "a variable that nobody fills"
    return text if not text or text.endswith("\n") else text + "\n"


def message(instruct, kind, name, text):
    sequence, suffix = {
        "system": (instruct["system_sequence"], instruct["system_suffix"]),
        "user": (instruct["input_sequence"], instruct["input_suffix"]),
        "char": (instruct["output_sequence"], instruct["output_suffix"])}[kind]
    named = kind != "system" and (instruct["names_behavior"] == "always")
    body = f"{name}: {text}" if named and name else text
    glue = "\n" if instruct["wrap"] else ""
    return sequence + glue + body + suffix + glue


def prompt(context, instruct, values, chat, speaker):
    """`chat`: (name, text) pairs; the name of the user makes a user message, None a system note."""
    assert not instruct["first_output_sequence"] and not instruct["first_input_sequence"]
    assert not instruct["story_string_prefix"] and not instruct["story_string_suffix"]
    out = story(context, values)
    for name, text in chat:
        kind = "system" if name is None else "user" if name == values.get("user") else "char"
        out += message(instruct, kind, name, text)
    last = instruct["last_output_sequence"] or instruct["output_sequence"]
    return out + last + f"{speaker}:"
