// A stage over a tiny model folder, prepared by hand: no config, no data files.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "shori/data/data_options.h"
#include "shori/train/prepared_stage.h"
#include "shori/util/hash.h"
#include "src/train/stage/loaded_base.h"
#include "tests/support/model_folder.h"
#include "tests/support/tiny_mistral.h"

namespace shori {

inline constexpr std::int64_t kTinyVocabSize = 40;  // of FolderOptions

inline StageConfig tiny_stage_config(const std::string& model, const std::string& run) {
  StageConfig stage;
  stage.name = "tiny";
  stage.config.base_model = model;
  stage.config.output_dir = run;
  stage.config.device = DeviceChoice::kCpu;
  stage.config.nf4_cache = "off";
  stage.config.threads = 1;
  stage.config.bf16 = false;
  stage.config.lora_r = 4;
  stage.config.lora_dropout = 0.1;
  stage.config.sequence_len = 64;
  stage.config.sample_packing = false;
  stage.config.num_epochs = 2;
  stage.config.learning_rate = 0.004;
  stage.config.weight_decay = 0.05;
  return stage;
}

// `count` conversations of one sample each; the first half is of file 0, the second of file 1.
inline Dataset tiny_data(std::uint32_t count) {
  Dataset data;
  data.files = {{"first.jsonl", 100, std::string(64, '1'), "first.jsonl", "first.jsonl"},
                {"second.jsonl", 200, std::string(64, '2'), "second.jsonl", "second.jsonl"}};
  data.fingerprint = std::string(64, '3');
  std::mt19937 random(11);
  for (std::uint32_t i = 0; i < count; ++i) {
    Sample sample;
    sample.ids = random_sample(random, 40 + i, kTinyVocabSize);
    sample.trained.assign(sample.ids.size(), 1);
    sample.conversation = i;
    data.train.push_back(std::move(sample));
    Conversation conversation;
    conversation.file = i < count / 2 ? 0 : 1;
    data.conversations.push_back(std::move(conversation));
  }
  return data;
}

// Model, run folder, and the stage over both. Every sample is a step of its own.
class TinyStage {
 public:
  explicit TinyStage(std::uint32_t samples = 4)
      : model_(FolderOptions{}), stage_(tiny_stage_config(model_.path(), run())) {
    auto base = std::make_shared<BaseModel>();
    base->folder = model_.path();
    base->model = std::make_unique<HfModel>(model_.open());
    stage_.base = std::move(base);
    stage_.data = tiny_data(samples);
    plan();
  }

  // After a change of config or data.
  void plan() {
    stage_.config_hash = config_hash(stage_.config);
    stage_.plan = make_pack_plan(sample_costs(stage_.data.train), plan_options(stage_.config));
    stage_.plan_bytes = serialize_pack_plan(stage_.plan);
    stage_.plan_sha256 = sha256_hex(stage_.plan_bytes);
  }

  PreparedStage& operator*() { return stage_; }
  PreparedStage* operator->() { return &stage_; }
  std::string run() const { return folder_.file("run"); }
  std::string file(const std::string& name) const { return folder_.file("run/" + name); }
  std::string read(const std::string& name) const { return folder_.read("run/" + name); }
  LoadedBase& base() { return prepare_base(stage_, base_); }

 private:
  ModelFolder model_;
  TemporaryFolder folder_;
  PreparedStage stage_;
  std::optional<LoadedBase> base_;
};

}  // namespace shori
