// Where runs stand, for people.
#pragma once

#include <string>

namespace shori {

// A paragraph for each run in `path`, a run folder or the folder of a recipe: state, a full disk, step, loss, evaluation,
// rate, speed, time left, last save. Takes no lock and writes nothing, so that it may be asked for while a run goes on.
// E0510 if there is no run, E0506 if its records cannot be read.
std::string status_text(const std::string& path);

}  // namespace shori
