// Commands that messages propose, so that they do what they say when they are pasted into a shell.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace shori {

// `text` as one word of a shell: as it is if no character of it is special, else quoted. Control characters are written
// as `$'\n'`, which bash and zsh read.
std::string shell_word(std::string_view text);

// The words, each quoted as needed, with spaces between.
std::string shell_words(const std::vector<std::string>& words);

// How this program was called (argv[0]). Without it programs are named as if they were on the PATH.
void set_called_as(std::string_view called_as);

// How a program of this project is called: as this one was, in the same folder. "build/release/bin/shori-data".
std::string program_command(std::string_view name);

}  // namespace shori
