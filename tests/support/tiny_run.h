// A new run of a tiny stage on the CPU, its step 0 saved.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "src/train/stage/run_files.h"
#include "src/train/stage/stage_session.h"
#include "src/train/stage/train_loop.h"
#include "tests/support/tiny_stage.h"

namespace shori {

struct TinyRun {
  explicit TinyRun(TinyStage& tiny, const std::optional<std::string>& parent = std::nullopt)
      : session(*tiny, tiny.base()),
        files(*tiny, session.base_identity(), Device::kCpu, session.arrays(), "shori-train tiny.yaml --resume") {
    std::filesystem::create_directories(tiny.run());
    session.start("");
    files.plan(parent);
    files.create();
    save(session, files);
  }

  StageSession session;
  RunFiles files;
};

// All factors, one after the other.
inline std::vector<float> values_of(StageSession& session) {
  std::vector<float> all;
  for (const LoraFactor& factor : session.adapter().factors())
    all.insert(all.end(), factor.values().begin(), factor.values().end());
  return all;
}

}  // namespace shori
