// The model that a chat, a script or the server talks to.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "shori/config/vocabulary.h"
#include "shori/data/tokenizer.h"
#include "shori/export/export_source.h"
#include "shori/infer/language_model.h"

namespace shori {

// How the weights of the base are held; everything else is bf16, and fp32 under kF32.
enum class BaseType { kNf4, kBf16, kF32 };
template <>
inline constexpr auto kWords<BaseType> = word_list("nf4", "bf16", "f32");

struct ChatModelOptions {
  ExportChoice source;  // a run folder, adapter or checkpoint; or a model folder, which needs no adapter
  std::string base;     // folder of the base; empty: the one that the adapter was trained on
  BaseType base_type = BaseType::kNf4;
  std::int64_t context = 0;                   // tokens; 0: 8192, or what the model was made for if that is less
  int threads = 0;                            // 0: all cores
  DeviceChoice device = DeviceChoice::kAuto;  // kAuto: the CPU
};

class ChatModel {
 public:
  // Loads base, adapter and tokenizer. E0402-E0407 for a GPU that was asked for and cannot be used, E0401 if its memory is too small, E0510 if the source is nothing of the kind, E0805 for another base
  // than the adapter's, E0116 for a context that the model does not have.
  static ChatModel open(const ChatModelOptions& options);
  ChatModel(ChatModel&&) noexcept;
  ~ChatModel();

  LanguageModel& language_model();
  const Tokenizer& tokenizer() const { return tokenizer_; }
  // Of the run or folder, for people and clients: no path.
  const std::string& name() const { return name_; }

 private:
  struct Loaded;
  ChatModel(std::unique_ptr<Loaded> loaded, Tokenizer tokenizer, std::string name);

  std::unique_ptr<Loaded> loaded_;
  Tokenizer tokenizer_;
  std::string name_;
};

}  // namespace shori
