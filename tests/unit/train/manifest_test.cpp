#include "src/train/stage/manifest.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "shori/util/error.h"
#include "tests/support/tiny_stage.h"

namespace shori {
namespace {

RunIdentity tiny_identity() { return {{"org/base", std::string(64, 'f'), "0123456789abcdef"}, std::string(64, 'a')}; }

Manifest manifest_after_three_steps(const PreparedStage& stage) {
  Manifest manifest{initial_state(stage), 512, std::string(64, 'e')};
  manifest.state.step = 3;
  manifest.state.adam_step = 13;
  manifest.state.tokens = 125;
  manifest.state.targets = 122;
  manifest.state.tokens_of_file = {81, 44};
  manifest.state.guards.check_step(1, 2.5, 0.5, 1e-4, 1e-3, "");
  manifest.state.guards.best_step = 2;
  return manifest;
}

JsonValue parsed(const Json& json) {
  JsonProblem problem;
  auto value = parse_json(canonical_json(json), {}, problem);
  EXPECT_TRUE(value) << problem.message;
  return std::move(*value);
}

std::string code_of_reading(const Json& json, const PreparedStage& stage) {
  try {
    read_manifest(parsed(json), stage);
  } catch (const Error& error) {
    return error.code();
  }
  return "none";
}

TEST(Manifest, ReadsWhatItWrote) {
  TinyStage stage;
  const Manifest written = manifest_after_three_steps(*stage);
  const Json json = manifest_json(*stage, tiny_identity(), written);
  const Manifest read = read_manifest(parsed(json), *stage);
  EXPECT_EQ(read.state.step, 3u);
  EXPECT_EQ(read.state.adam_step, 13u);
  EXPECT_EQ(read.state.tokens_of_file, written.state.tokens_of_file);
  EXPECT_EQ(read.metrics_bytes, 512u);
  EXPECT_EQ(canonical_json(manifest_json(*stage, tiny_identity(), read)), canonical_json(json));
}

TEST(Manifest, DerivedMembersFollowTheStep) {
  TinyStage stage;
  const Json first = manifest_json(*stage, tiny_identity(), {initial_state(*stage), 0, ""});
  EXPECT_EQ(first["next_micro_batch"], 0);
  EXPECT_EQ(first["epoch"], 0.0);
  EXPECT_EQ(first["lr"], 0.0);
  const Json later = manifest_json(*stage, tiny_identity(), manifest_after_three_steps(*stage));
  EXPECT_EQ(later["next_micro_batch"], 3);
  EXPECT_EQ(later["epoch"], 0.75);
  EXPECT_EQ(later["lr"], 0.004);
}

// A change here is a change of the checkpoint format.
TEST(Manifest, HasTheMembersOfTheFormat) {
  TinyStage stage;
  std::string keys;
  const Json json = manifest_json(*stage, tiny_identity(), manifest_after_three_steps(*stage));
  for (const auto& [key, value] : json.items()) keys += key + " ";
  EXPECT_EQ(keys,
            "adam base build config config_hash data data_fingerprint device epoch format guards ledger lr metrics "
            "next_micro_batch parent plan_sha256 rng stage step tokenizer_sha256 version ");
}

TEST(Manifest, OfAnotherRunIsRefused) {
  TinyStage stage;
  const Json json = manifest_json(*stage, tiny_identity(), manifest_after_three_steps(*stage));
  EXPECT_EQ(code_of_reading(json, *stage), "none");
  Json other_plan = json;
  other_plan["plan_sha256"] = "0";
  EXPECT_EQ(code_of_reading(other_plan, *stage), "E0518");
  stage->config.learning_rate = 0.003;
  stage.plan();
  EXPECT_EQ(code_of_reading(json, *stage), "E0518");
}

TEST(Manifest, MissingMembersAreNamed) {
  TinyStage stage;
  const Json json = manifest_json(*stage, tiny_identity(), manifest_after_three_steps(*stage));
  for (const char* key : {"step", "adam", "guards", "ledger", "metrics"}) {
    Json damaged = json;
    damaged.erase(key);
    EXPECT_EQ(code_of_reading(damaged, *stage), "E0503") << key;
  }
  Json other_files = json;
  other_files["ledger"]["tokens_of_file"] = {1, 2, 3};
  EXPECT_EQ(code_of_reading(other_files, *stage), "E0503");
}

// CheckpointStore leaves 4 KiB for what grows beyond the first manifest. A thousand counts of files need more.
TEST(Manifest, LengthOfTheFirstBoundsThatOfAll) {
  TinyStage stage;
  stage->data.files.resize(1000);
  const std::size_t bound = manifest_bytes(*stage, tiny_identity());
  Manifest largest{initial_state(*stage), UINT64_MAX, std::string(64, 'e')};
  largest.state.step = stage->total_steps();
  largest.state.adam_step = UINT64_MAX;
  largest.state.tokens = largest.state.targets = INT64_MAX;
  largest.state.tokens_of_file.assign(1000, INT64_MAX);
  largest.state.guards.best_eval = 1.0;
  largest.state.guards.best_step = largest.state.guards.evaluated_step = UINT64_MAX;
  EXPECT_LE(canonical_json(manifest_json(*stage, tiny_identity(), largest)).size(), bound + 4096);
}

}  // namespace
}  // namespace shori
