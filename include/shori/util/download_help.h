// What to do when files of a model folder are missing or wrong. Nothing is ever downloaded.
#pragma once

#include <string>
#include <vector>

namespace shori {

// `org/name` for a snapshot in a Hugging Face cache, else empty. Nothing may be written there but by its programs.
std::string snapshot_id(const std::string& folder);

// What to do when files of a model folder are missing: a command for the id of a Hugging Face cache, else its form.
std::string download_help(const std::string& folder, const std::vector<std::string>& names);

// The command that gets one file of a model folder again, whatever lies in its place.
std::string replace_command(const std::string& folder, const std::string& name);

}  // namespace shori
