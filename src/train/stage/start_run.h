// How session and files of a run come to the state before the next step: the first one, or one after a resume.
#pragma once

#include <string>

#include "src/train/stage/run_files.h"
#include "src/train/stage/stage_session.h"

namespace shori {

// A new run, up to its first write: adapter and optimizer get their values, the size of a checkpoint becomes known.
void prepare_run(StageSession& session, RunFiles& files, const std::string& init_from);
// Creates the files of a prepared run, evaluates before step 1 if that is due, and saves step 0. Stopped if a stop is
// requested before that.
void begin_run(StageSession& session, RunFiles& files, const std::string& init_from);

// Continues the run in the folder from its newest usable checkpoint. E0508 or E0509 if base, plan, build or device are
// not those it began with; else the errors of RunFiles::load().
void resume_run(StageSession& session, RunFiles& files, const std::string& init_from);
void log_resumed(const StageSession& session);

}  // namespace shori
