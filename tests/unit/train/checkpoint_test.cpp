#include "shori/train/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "shori/train/run_folder.h"
#include "shori/util/error.h"
#include "shori/util/hash.h"
#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

// A small state: two F32 tensors, one U8.
struct State {
  std::vector<float> a = std::vector<float>(40), b = std::vector<float>(7);
  std::vector<std::uint8_t> codes = std::vector<std::uint8_t>(33);

  explicit State(unsigned seed) {
    std::mt19937 random(seed);
    for (float& value : a) value = static_cast<float>(random()) / 1e9f;
    for (float& value : b) value = -static_cast<float>(random()) / 1e9f;
    for (std::uint8_t& value : codes) value = static_cast<std::uint8_t>(random());
  }
  std::vector<NamedArray> arrays() {
    return {{"a", FileDType::kF32, {8, 5}, a.data()},
            {"b", FileDType::kF32, {7}, b.data()},
            {"codes", FileDType::kU8, {33}, codes.data()}};
  }
  bool operator==(const State&) const = default;
};

Json fields(std::uint64_t step) { return {{"step", step}, {"format", 1}}; }

constexpr std::size_t kManifestBytes = 8192;  // two pages: one for the text, and one that it may grow by

CheckpointStore make_store(const std::string& folder, std::vector<NamedArray> arrays) {
  CheckpointStore store(folder, std::move(arrays));
  store.set_manifest_bytes(100);
  return store;
}

struct Written {
  TemporaryFolder folder;
  State state{1};
  Written() {
    CheckpointStore store = make_store(folder.path(), state.arrays());
    store.prepare();
    store.write(3, fields(3));
    state = State(2);
    CheckpointStore again = make_store(folder.path(), state.arrays());
    again.prepare();
    again.write(4, fields(4));
    again.keep_newest(2);
  }
  std::optional<CheckpointStore::Loaded> load(State& into) {
    return CheckpointStore(folder.path(), into.arrays()).load_newest("train again: shori-train again.yaml");
  }
};

TEST(Checkpoint, ComesBackByteForByte) {
  Written written;
  State loaded(9);
  const auto result = written.load(loaded);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->step, 4u);
  EXPECT_TRUE(loaded == written.state);
  EXPECT_EQ(result->manifest.find("step")->text, "4");
}

TEST(Checkpoint, EveryFileOfARunHasOneSize) {
  Written written;
  EXPECT_EQ(std::filesystem::file_size(written.folder.file("checkpoints/step-000003.safetensors")),
            std::filesystem::file_size(written.folder.file("checkpoints/step-000004.safetensors")));
}

TEST(Checkpoint, SealHoldsWhatTheFormatSays) {
  Written written;
  const std::string file = written.folder.read("checkpoints/step-000004.safetensors");
  const std::string seal = file.substr(file.size() - 64);
  EXPECT_EQ(seal.substr(0, 8), "SHORICKP");
  const auto u64 = [&](std::size_t at) {
    std::uint64_t value;
    std::memcpy(&value, seal.data() + at, 8);
    return value;
  };
  EXPECT_EQ(u64(8), file.size());
  EXPECT_EQ(u64(16), 4u);
  EXPECT_EQ(u64(56), 1u);
  std::uint64_t header;
  std::memcpy(&header, file.data(), 8);
  const std::string covered =
      file.substr(0, 8 + header) + file.substr(file.size() - 64 - kManifestBytes, kManifestBytes);
  EXPECT_EQ(to_hex(seal.data() + 24, 32), sha256_hex(covered));
}

// Flips one bit at `offset` of the newest checkpoint and expects the older one to be used.
void expect_flip_is_found(Written& written, std::size_t offset, int bit) {
  const std::string name = "checkpoints/step-000004.safetensors";
  const std::string good = written.folder.read(name);
  std::string bad = good;
  bad[offset] = static_cast<char>(bad[offset] ^ (1 << bit));
  written.folder.write(name, bad);
  State loaded(9);
  const auto result = written.load(loaded);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->step, 3u) << "bit " << bit << " of byte " << offset << " went unnoticed";
  EXPECT_TRUE(loaded == State(1));
  EXPECT_TRUE(std::filesystem::exists(written.folder.file("checkpoints/damaged/step-000004.safetensors")));
  written.folder.write(name, good);
}

TEST(Checkpoint, EveryFlippedBitOfHeaderDataAndSealIsFound) {
  Written written;
  const std::size_t size = written.folder.read("checkpoints/step-000004.safetensors").size();
  const std::size_t data_end = size - 64 - kManifestBytes;
  std::mt19937 random(5);
  for (std::size_t byte = 0; byte < data_end; ++byte)
    expect_flip_is_found(written, byte, static_cast<int>(random() % 8));
  for (std::size_t byte = data_end; byte < size - 64; byte += 41)
    expect_flip_is_found(written, byte, static_cast<int>(random() % 8));
  for (std::size_t byte = size - 64; byte < size; ++byte)
    for (int bit = 0; bit < 8; ++bit) expect_flip_is_found(written, byte, bit);
}

TEST(Checkpoint, TruncatedOrGrownFilesAreFound) {
  Written written;
  const std::string name = "checkpoints/step-000004.safetensors", good = written.folder.read(name);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{8}, std::size_t{100}, good.size() / 2,
                                 good.size() - 64, good.size() - 1}) {
    written.folder.write(name, good.substr(0, size));
    State loaded(9);
    EXPECT_EQ(written.load(loaded)->step, 3u) << size;
  }
  written.folder.write(name, good + "x");
  State loaded(9);
  EXPECT_EQ(written.load(loaded)->step, 3u);
}

// A file of a later format: manifest and seal say 2, and the digest fits.
std::string of_format_2(std::string file) {
  const std::size_t seal = file.size() - 64;
  const std::size_t at = file.find("\"format\":1", seal - kManifestBytes);
  file.replace(at, 10, "\"format\":2");
  std::uint64_t header;
  std::memcpy(&header, file.data(), 8);
  const Sha256Digest digest =
      Sha256().update(file.substr(0, 8 + header)).update(file.substr(seal - kManifestBytes, kManifestBytes)).finish();
  std::memcpy(file.data() + seal + 24, digest.data(), digest.size());
  file[seal + 56] = 2;
  return file;
}

TEST(Checkpoint, NewerFormatIsRefusedNotQuarantined) {
  Written written;
  const std::string name = "checkpoints/step-000004.safetensors";
  written.folder.write(name, of_format_2(written.folder.read(name)));
  State loaded(9);
  try {
    written.load(loaded);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0515");
  }
  EXPECT_TRUE(std::filesystem::exists(written.folder.file(name)));
}

TEST(Checkpoint, NothingUsableIsAnErrorAndNeverAFreshStart) {
  Written written;
  for (const char* name : {"checkpoints/step-000003.safetensors", "checkpoints/step-000004.safetensors"})
    written.folder.write(name, "damaged");
  State loaded(9);
  try {
    written.load(loaded);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0506");
    EXPECT_EQ(error.exit_code(), 4);
    EXPECT_EQ(error.diagnostics().front().notes.size(), 2u);
    ASSERT_EQ(error.diagnostics().front().helps.size(), 1u);
    EXPECT_TRUE(error.diagnostics().front().helps[0].ends_with(": shori-train again.yaml"));
  }
}

std::string checkpoint_path(std::uint64_t step) { return "checkpoints/" + checkpoint_name(step); }

TEST(Checkpoint, WhatALoadMovesIsKeptAndOlderEvidenceGoes) {
  Written written;
  for (const std::uint64_t step : {1u, 2u}) written.folder.write("checkpoints/damaged/" + checkpoint_name(step), "old");
  for (const std::uint64_t step : {5u, 6u, 7u}) written.folder.write(checkpoint_path(step), "damaged");
  State loaded(9);
  EXPECT_EQ(written.load(loaded)->step, 4u);
  const auto damaged = [&] { return list_directory(written.folder.file("checkpoints/damaged")); };
  EXPECT_EQ(damaged(), (std::vector<std::string>{checkpoint_name(5), checkpoint_name(6), checkpoint_name(7)}));
  written.folder.write(checkpoint_path(4), "damaged");
  EXPECT_EQ(written.load(loaded)->step, 3u);
  EXPECT_EQ(damaged(), (std::vector<std::string>{checkpoint_name(4), checkpoint_name(7)}));
}

TEST(Checkpoint, NamesThatAreNotCheckpointsAreIgnored) {
  Written written;
  for (const char* name : {"step-00009.safetensors", "step-000009.safetensors.bak", "xstep-000009.safetensors",
                           "step-0000000000009.safetensors"})
    written.folder.write(std::string("checkpoints/") + name, "x");
  State loaded(9);
  EXPECT_EQ(written.load(loaded)->step, 4u);
}

TEST(Checkpoint, RetentionKeepsTheNewestAndPinnedOnes) {
  TemporaryFolder folder;
  State state(1);
  CheckpointStore store = make_store(folder.path(), state.arrays());
  store.prepare();
  for (std::uint64_t step = 0; step < 6; ++step) {
    store.write(step, fields(step));
    if (step == 1) {
      EXPECT_TRUE(store.pin(step, PinFolder::kPinned));
    }
    store.keep_newest(2);
  }
  std::vector<std::string> names;
  for (const std::string& name : list_directory(folder.file("checkpoints"))) names.push_back(name);
  EXPECT_EQ(names,
            (std::vector<std::string>{".next.tmp", "pinned", "step-000004.safetensors", "step-000005.safetensors"}));
  EXPECT_EQ(open_checkpoint(folder.file("checkpoints/pinned"), "step-000001.safetensors", true).number, 1u);
}

// The manifest of a step: the best evaluation and the last one, as the trainer knew them when it was written.
Json evaluated_fields(std::uint64_t step, std::uint64_t best, std::uint64_t evaluated) {
  Json json = fields(step);
  json["guards"] = {{"best_step", best}, {"evaluated_step", evaluated}};
  return json;
}

// Steps 1 to 6, all of them in pinned/: epochs end at 3 and 6; 1, 2, 3 and 5 were the best in their time, 4 was asked
// for by a user of an older version.
struct Pinned {
  TemporaryFolder folder;
  State state{1};
  CheckpointStore store = make_store(folder.path(), state.arrays());
  PinReasons reasons{6, {3, 6, 9}, 2, 5, [](std::uint64_t) { return true; }};

  Pinned() {
    store.prepare();
    const std::uint64_t best[] = {0, 1, 2, 3, 3, 5, 5};
    for (std::uint64_t step = 1; step <= 6; ++step) {
      store.write(step, evaluated_fields(step, best[step], step));
      EXPECT_TRUE(store.pin(step, PinFolder::kPinned));
    }
  }
  std::vector<std::string> left() {
    store.drop_outdated_pins(reasons);
    std::vector<std::string> steps;
    for (const std::string& name : list_directory(folder.file("checkpoints/pinned")))
      steps.push_back(std::to_string(checkpoint_step(name).value_or(0)));
    return steps;
  }
};

using Steps = std::vector<std::string>;

TEST(PinnedCheckpoints, SupersededEvaluationsGo) {
  Pinned pinned;
  EXPECT_EQ(pinned.left(), (Steps{"3", "4", "5", "6"}));
  EXPECT_EQ(open_checkpoint(pinned.folder.file("checkpoints/pinned"), "step-000005.safetensors", true).number, 5u);
  EXPECT_EQ(pinned.left(), (Steps{"3", "4", "5", "6"})) << "the second time there is nothing to do";
}

TEST(PinnedCheckpoints, NewestEpochEndsStay) {
  Pinned pinned;
  pinned.reasons.epoch_ends = {1, 2, 3, 6, 9};
  EXPECT_EQ(pinned.left(), (Steps{"3", "4", "5", "6"})) << "9 has not come yet and takes no place";
  pinned.reasons.epoch_ends = {3, 4, 6};
  EXPECT_EQ(pinned.left(), (Steps{"4", "5", "6"}));
}

TEST(PinnedCheckpoints, AnEpochEndThatIsTheBestOutlivesTheLimit) {
  Pinned pinned;
  pinned.reasons.epoch_ends = {1, 3, 6};
  pinned.reasons.best_step = 1;
  EXPECT_EQ(pinned.left(), (Steps{"1", "3", "4", "6"}));
}

TEST(PinnedCheckpoints, LaterStepsAreLeftToTheRunThatMeetsThemAgain) {
  Pinned pinned;
  pinned.reasons.step = 4;
  pinned.reasons.best_step = 3;
  EXPECT_EQ(pinned.left(), (Steps{"3", "4", "5", "6"}));
}

TEST(PinnedCheckpoints, ABestOneThatWasSavedInsideItsEvaluationGoesToo) {
  TemporaryFolder folder;
  State state(1);
  CheckpointStore store = make_store(folder.path(), state.arrays());
  store.prepare();
  for (const std::uint64_t step : {4, 5, 6}) {
    store.write(step, evaluated_fields(step, 2, 2));
    EXPECT_TRUE(store.pin(step, PinFolder::kPinned));
  }
  store.drop_outdated_pins({6, {}, 2, 6, [](std::uint64_t step) { return step % 2 == 0; }});
  EXPECT_EQ(list_directory(folder.file("checkpoints/pinned")),
            (Steps{"step-000005.safetensors", "step-000006.safetensors"}))
      << "5 is not evaluated at all: it is there for another reason";
}

TEST(PinnedCheckpoints, RequestedOnesAreNotTouched) {
  Pinned pinned;
  EXPECT_TRUE(pinned.store.pin(2, PinFolder::kRequested));
  pinned.left();
  EXPECT_EQ(list_directory(pinned.folder.file("checkpoints/requested")), (Steps{"step-000002.safetensors"}));
}

TEST(PinnedCheckpoints, AnotherFileOfTheSameStepGivesWay) {
  Pinned pinned;
  const std::string name = "checkpoints/pinned/step-000005.safetensors", good = pinned.folder.read(name);
  std::filesystem::remove(pinned.folder.file(name));
  pinned.folder.write(name, "damaged");
  EXPECT_TRUE(pinned.store.pin(5, PinFolder::kPinned));
  EXPECT_EQ(pinned.folder.read(name), good);
}

TEST(Checkpoint, RoomIsCheckedWithoutATrace) {
  TemporaryFolder folder;
  State state(1);
  const CheckpointStore store = make_store(folder.file("run"), state.arrays());
  store.check_room(folder.path());
  store.check_room(folder.file("missing"));
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{store.file_size() - 1, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string code;
  try {
    store.check_room(folder.path());
  } catch (const Error& error) {
    code = error.code();
  }
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(code, "E0502");
  EXPECT_TRUE(list_directory(folder.path()).empty());
}

TEST(Checkpoint, SpaceForTheNextOneIsReserved) {
  TemporaryFolder folder;
  State state(1);
  CheckpointStore store = make_store(folder.path(), state.arrays());
  folder.write("checkpoints/.next.tmp", "left by a run that was killed");
  store.prepare();
  EXPECT_EQ(std::filesystem::file_size(folder.file("checkpoints/.next.tmp")), store.file_size());
}

TEST(Checkpoint, OtherTensorsAreNotTaken) {
  Written written;
  State other(9);
  std::vector<NamedArray> arrays = other.arrays();
  arrays[1].name = "c";
  CheckpointStore store(written.folder.path(), arrays);
  EXPECT_THROW(store.load_newest(""), Error);
}

TEST(RunFolder, CheckpointNames) {
  EXPECT_EQ(checkpoint_name(118), "step-000118.safetensors");
  EXPECT_EQ(checkpoint_step("step-000118.safetensors"), 118u);
  EXPECT_EQ(checkpoint_step("step-1234567.safetensors"), 1234567u);
  for (const char* name :
       {"step-118.safetensors", "step-00011x.safetensors", "step-000118.safetensor", "step--00118.safetensors"})
    EXPECT_FALSE(checkpoint_step(name)) << name;
}

TEST(RunFolder, SecondLockIsRefusedAndNamesTheOwner) {
  TemporaryFolder folder;
  const RunLock first = RunLock::take(folder.file("run"));
  try {
    RunLock::take(folder.file("run"));
    FAIL() << "two locks";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0501");
    EXPECT_EQ(error.exit_code(), 7);
    ASSERT_FALSE(error.diagnostics().front().notes.empty());
    EXPECT_NE(error.diagnostics().front().notes.front().find(std::to_string(getpid())), std::string::npos);
  }
}

TEST(RunFolder, LockGoesWithItsOwner) {
  TemporaryFolder folder;
  {
    const RunLock first = RunLock::take(folder.path());
  }
  EXPECT_NO_THROW(RunLock::take(folder.path()));
  EXPECT_TRUE(std::filesystem::exists(folder.file("run.lock")));
}

TEST(RunFolder, MoveAsideNeverDeletes) {
  TemporaryFolder folder;
  folder.write("run/file", "1");
  EXPECT_EQ(move_aside(folder.file("run")), folder.file("run.old-1"));
  folder.write("run/file", "2");
  EXPECT_EQ(move_aside(folder.file("run")), folder.file("run.old-2"));
  EXPECT_EQ(folder.read("run.old-1/file"), "1");
  EXPECT_EQ(folder.read("run.old-2/file"), "2");
}

}  // namespace
}  // namespace shori
