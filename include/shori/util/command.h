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

// A command that replaces the content of `file` by what `command FILE` writes, piped through `filter` if there is one.
// If a program fails the file stays as it is: a pipe has the status of `filter` alone, so an empty result is a failure
// there. Of a link the target is replaced, so that the link stays one, and no other file is overwritten.
std::string rewrite_command(std::string_view command, const std::string& file, std::string_view filter = {});

// `sed -i SCRIPT FILE`, where FILE is the target of a link. `script` is quoted, and may follow options.
std::string sed_command(std::string_view script, const std::string& file);

// How this program was called (argv[0]). Without it programs are named as if they were on the PATH.
void set_called_as(std::string_view called_as);

// How a program of this project is called: as this one was, in the same folder. "build/release/bin/shori-data".
std::string program_command(std::string_view name);

// ---- What to do when files of a model folder are missing or wrong. Nothing is ever downloaded. ----

// `org/name` for a snapshot in a Hugging Face cache, else empty. Nothing may be written there but by its programs.
std::string snapshot_id(const std::string& folder);

// What to do when files of a model folder are missing: a command for the id of a Hugging Face cache, else its form.
std::string download_help(const std::string& folder, const std::vector<std::string>& names);

// How to get a file of a model folder again, whatever lies in its place, with a command.
std::string replace_help(const std::string& path);

}  // namespace shori
