// The chat template of exported models, in Jinja. The base's raises an exception for any roles but an alternating user
// and assistant.
//
// A message is {role, content}, optionally with `name` and `hint`. Roles of BlockML give their block, `system` gives an
// instruction, every other role a message. The variables `hint` and `char` complete the last line of a prompt. `hint` is
// not called `length`, which is a function in the engine of llama.cpp.
#pragma once

#include <string_view>

namespace shori {

inline constexpr std::string_view kChatTemplate =
    R"({{ bos_token }}{% for m in messages %})"
    R"({% if m['role'] == 'system' %}{{ '[INST] ' + m['content'] + ' [/INST]\n' }})"
    R"({% elif m['role'] in ['title', 'tags', 'lore', 'scenario', 'description', 'ooc'] %}{{ '▀' + m['role'] + '\n' + m['content'] + '▄\n' }})"
    R"({% else %}{{ '▀message' }}{% if m['hint'] %}{{ ' (length: ' + m['hint'] + ')' }})"
    R"({% endif %}{{ '\n' }}{% if m['name'] %}{{ m['name'] + ': ' }})"
    R"({% endif %}{{ m['content'] + '▄\n' }}{% endif %}{% endfor %})"
    R"({% if add_generation_prompt %}{{ '▀message (length: ' + (hint or 'medium') + ')\n' }})"
    R"({% if char %}{{ char + ':' }}{% endif %}{% endif %})";

}  // namespace shori
