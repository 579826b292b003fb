#include <cstdlib>
#include <optional>

#include "shori/util/text.h"
#include "tests/unit/config/config_files.h"

namespace shori {
namespace {

constexpr const char* kRevision = "3ad372fc79158a2148299e3318516c786aeded6c";

// An environment variable for one test.
class Environment {
 public:
  Environment(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    value.empty() ? unsetenv(name) : setenv(name, value.c_str(), 1);
  }
  ~Environment() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

class BaseModel : public testing::Test {
 protected:
  // The folder that `base_model: written` becomes, or the printed problem.
  std::string find(const std::string& written) {
    Diagnostics diagnostics;
    const std::string text =
        "base_model: " + written + "\noutput_dir: o\nlearning_rate: 1e-4\ndatasets: [{path: d.txt}]\n";
    LoadedConfig loaded = load_config(folder_.write("configs/c.yaml", text), {}, diagnostics);
    EXPECT_FALSE(diagnostics.has_errors());
    find_base_models(loaded, diagnostics);
    if (!diagnostics.has_errors()) return loaded.stages.at(0).config.base_model;
    EXPECT_EQ(diagnostics.all()[0].code, "E0108");
    EXPECT_EQ(diagnostics.all()[0].location.line, 1u);
    return format_diagnostic(diagnostics.all()[0]);
  }

  void cache_model(const std::string& hub, const std::string& revision) {
    folder_.write(hub + "/models--org--name/refs/main", revision);
    folder_.write(concat(hub, "/models--org--name/snapshots/", kRevision, "/config.json"), "{}");
  }

  std::string snapshot(const std::string& hub) {
    return folder_.path(concat(hub, "/models--org--name/snapshots/", kRevision));
  }

  ConfigFolder folder_;
  Environment hub_cache_{"HF_HUB_CACHE", ""};
  Environment old_hub_cache_{"HUGGINGFACE_HUB_CACHE", ""};
  Environment transformers_cache_{"TRANSFORMERS_CACHE", ""};
  Environment hf_home_{"HF_HOME", ""};
  Environment xdg_{"XDG_CACHE_HOME", ""};
  Environment home_{"HOME", folder_.path("home")};
};

TEST_F(BaseModel, FolderBesideTheConfig) {
  folder_.write("models/m/config.json", "{}");
  EXPECT_EQ(find("../models/m"), folder_.path("models/m"));
  EXPECT_EQ(find(folder_.path("models/m") + "/"), folder_.path("models/m"));
}

TEST_F(BaseModel, IdInTheCache) {
  cache_model("home/.cache/huggingface/hub", kRevision);
  EXPECT_EQ(find("org/name"), snapshot("home/.cache/huggingface/hub"));
}

TEST_F(BaseModel, CacheNamedByTheEnvironment) {
  cache_model("a/hub", concat(kRevision, "\n"));
  cache_model("b", kRevision);
  const Environment home("HF_HOME", folder_.path("a"));
  EXPECT_EQ(find("org/name"), snapshot("a/hub"));
  const Environment cache("HF_HUB_CACHE", folder_.path("b"));
  EXPECT_EQ(find("org/name"), snapshot("b"));
}

// The order of huggingface_hub/constants.py: each cache that is added here wins over those before it.
TEST_F(BaseModel, CachesInTheOrderOfHuggingfaceHub) {
  struct Cache {
    const char* variable;
    std::string value, hub;
  };
  const Cache caches[] = {{.variable = "XDG_CACHE_HOME", .value = "xdg", .hub = "xdg/huggingface/hub"},
                          {.variable = "HF_HOME", .value = "hf", .hub = "hf/hub"},
                          {.variable = "HUGGINGFACE_HUB_CACHE", .value = "old", .hub = "old"},
                          {.variable = "HF_HUB_CACHE", .value = "new", .hub = "new"}};
  cache_model("home/.cache/huggingface/hub", kRevision);
  for (const auto& [variable, value, hub] : caches) {
    cache_model(hub, kRevision);
    setenv(variable, folder_.path(value).c_str(), 1);
    EXPECT_EQ(find("org/name"), snapshot(hub)) << variable;
  }
}

TEST_F(BaseModel, VariablesOfTheCacheAreExpanded) {
  cache_model("home/caches/hub", kRevision);
  const Environment home("HF_HOME", "~/caches");
  EXPECT_EQ(find("org/name"), snapshot("home/caches/hub"));
  const Environment part("SHORI_TEST_PART", "caches");
  for (const char* value : {"$HOME/caches/hub", "${HOME}/$SHORI_TEST_PART/hub", "~/${SHORI_TEST_PART}/hub"}) {
    const Environment cache("HF_HUB_CACHE", value);
    EXPECT_EQ(find("org/name"), snapshot("home/caches/hub")) << value;
  }
}

TEST_F(BaseModel, CacheOfOldTransformersIsTheLast) {
  cache_model("old", kRevision);
  const Environment old("TRANSFORMERS_CACHE", folder_.path("old"));
  EXPECT_EQ(find("org/name"), snapshot("old"));
  cache_model("home/.cache/huggingface/hub", kRevision);
  EXPECT_EQ(find("org/name"), snapshot("home/.cache/huggingface/hub"));
}

TEST_F(BaseModel, TheOnlySnapshotServesWithoutRefs) {
  const std::string hub = "home/.cache/huggingface/hub/";
  folder_.write(concat(hub, "models--org--name/snapshots/", kRevision, "/config.json"), "{}");
  EXPECT_EQ(find("org/name"), snapshot("home/.cache/huggingface/hub"));
  folder_.write(hub + "models--org--name/snapshots/0123/config.json", "{}");
  const std::string text = find("org/name");
  EXPECT_NE(text.find("refs/main is missing; there are snapshots of 0123, 3ad3"), std::string::npos) << text;
  EXPECT_NE(text.find("name the folder of one of them"), std::string::npos) << text;
}

TEST_F(BaseModel, RefWithoutItsSnapshotIsNamed) {
  cache_model("home/.cache/huggingface/hub", "abcdef");
  const std::string text = find("org/name");
  EXPECT_NE(text.find("refs/main names abcdef, which has no snapshot"), std::string::npos) << text;
}

TEST_F(BaseModel, DanglingLinksOfASnapshotAreNamed) {
  const std::string hub = "home/.cache/huggingface/hub";
  cache_model(hub, kRevision);
  std::filesystem::create_symlink("../../blobs/gone", snapshot(hub) + "/model.safetensors");
  const std::string text = find("org/name");
  EXPECT_NE(text.find("lead to files that are missing: model.safetensors"), std::string::npos) << text;
  EXPECT_NE(text.find("`hf download org/name`"), std::string::npos) << text;
}

TEST_F(BaseModel, LinkToNothing) {
  folder_.write("models/x", "");
  std::filesystem::create_symlink("gone", folder_.path("models/m"));
  EXPECT_NE(find("../models/m").find("it is a link to something that does not exist"), std::string::npos);
}

TEST_F(BaseModel, HomeAndVariables) {
  folder_.write("home/models/m/config.json", "{}");
  const Environment models("SHORI_TEST_MODELS", folder_.path("home/models"));
  for (const char* written : {"~/models/m", "$HOME/models/m", "${SHORI_TEST_MODELS}/m", "$SHORI_TEST_MODELS/m/"}) {
    EXPECT_EQ(find(written), folder_.path("home/models/m")) << written;
  }
  const std::string missing = find("~/models/other");
  EXPECT_NE(missing.find("does not exist: " + folder_.path("home/models/other")), std::string::npos) << missing;
}

TEST_F(BaseModel, FolderWinsOverTheCache) {
  cache_model("home/.cache/huggingface/hub", kRevision);
  folder_.write("configs/org/name/config.json", "{}");
  EXPECT_EQ(find("org/name"), folder_.path("configs/org/name"));
}

TEST_F(BaseModel, RevisionThatWouldLeaveTheCacheIsNotTaken) {
  cache_model("home/.cache/huggingface/hub", "../../../../..");
  EXPECT_NE(find("org/name").find("error[E0108]"), std::string::npos);
}

TEST_F(BaseModel, MissingIdNamesTheDownload) {
  const std::string text = find("org/name");
  EXPECT_NE(text.find("`base_model` does not exist: org/name"), std::string::npos) << text;
  EXPECT_NE(text.find("`hf download org/name`"), std::string::npos) << text;
  EXPECT_NE(text.find("huggingface-cli download org/name"), std::string::npos) << text;
}

TEST_F(BaseModel, MissingFolderNamesItsNeighbours) {
  folder_.write("models/Mistral-7B-Instruct-v0.2/config.json", "{}");
  folder_.write("models/other/config.json", "{}");
  const std::string text = find("../models/Mistral-7B");
  EXPECT_NE(text.find("/models/` holds: Mistral-7B-Instruct-v0.2, other"), std::string::npos) << text;
  EXPECT_NE(text.find("write `../models/Mistral-7B-Instruct-v0.2`"), std::string::npos) << text;
}

TEST_F(BaseModel, MissingParentNamesTheDownload) {
  const std::string text = find("../models/Mistral-7B-Instruct-v0.1");
  EXPECT_NE(text.find("there is no folder " + folder_.path("models")), std::string::npos) << text;
  EXPECT_NE(text.find("`hf download mistralai/Mistral-7B-Instruct-v0.1 --local-dir " + folder_.path("models/Mistral")),
            std::string::npos)
      << text;
}

TEST_F(BaseModel, FileInsteadOfAFolder) {
  folder_.write("models/m/config.json", "{}");
  const std::string text = find("../models/m/config.json");
  EXPECT_NE(text.find("it is a file"), std::string::npos) << text;
  EXPECT_NE(text.find("write `../models/m`"), std::string::npos) << text;
}

}  // namespace
}  // namespace shori
