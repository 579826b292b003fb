// The first or the next start of a run: how session and files come to the state before the next step.
#pragma once

#include <string>

#include "src/train/stage/run_files.h"
#include "src/train/stage/stage_session.h"

namespace shori {

// A new run: adapter and optimizer get their first values, the files are created, the evaluation before step 1 is made,
// and step 0 is saved. Stopped if a stop is requested before that.
void begin_run(StageSession& session, RunFiles& files, const std::string& init_from);

// Continues the run in the folder from its newest usable checkpoint. E0508 or E0509 if base, plan, build or device are
// not those it began with; else the errors of RunFiles::load().
void resume_run(StageSession& session, RunFiles& files, const std::string& init_from);

}  // namespace shori
