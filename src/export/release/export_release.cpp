#include "shori/export/export_release.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "shori/export/export_gguf.h"
#include "shori/train/run_identity.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/number_text.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"
#include "src/export/export_folder.h"
#include "src/export/gguf/write_gguf.h"
#include "src/export/release/data_statistics.h"
#include "src/export/release/license_text.h"
#include "src/export/release/model_card.h"
#include "src/export/write_exports.h"

namespace shori {
namespace {

constexpr std::string_view kApacheId = "apache-2.0";

void check_date(const std::string& date) {
  const std::string_view form = "dddd-dd-dd";
  const auto fits = [](char expected, char given) {
    return expected == 'd' ? given >= '0' && given <= '9' : given == expected;
  };
  if (date.empty()) return;
  if (std::equal(form.begin(), form.end(), date.begin(), date.end(), fits)) {
    const auto number = [&](std::size_t at) {
      return parse_number<unsigned>(date.substr(at, at == 0 ? 4 : 2)).value();
    };
    using namespace std::chrono;
    if (year_month_day(year(static_cast<int>(number(0))), month(number(5)), day(number(8))).ok()) return;
  }
  throw Error(
      Diagnostic("E0116", concat("`--date ", escape_for_log(date), "` is not a date")).help("--date 2026-11-29"));
}

void check_text(const char* option, const std::string& text) {
  if (find_invalid_utf8(text))
    throw Error(Diagnostic("E0116", concat("`", option, " ", escape_for_log(text), "` is not UTF-8")));
}

// It becomes part of file names and of a title.
std::string checked_name(const ReleaseOptions& options) {
  std::string name = options.name.empty() ? file_name(absolute_path(options.out)) : options.name;
  const bool controls = std::ranges::any_of(name, [](char c) { return static_cast<unsigned char>(c) < 0x20; });
  const bool plain = !name.empty() && name.size() <= 200 && !name.starts_with('.') &&
                     name.find('/') == std::string::npos && !controls && !find_invalid_utf8(name);
  if (plain) return name;
  throw Error(Diagnostic("E0116", concat("`", escape_for_log(name), "` cannot be the name of a model"))
                  .note("it becomes part of file names: no `/`, no control characters, no dot at the start")
                  .help("--name ShoriRP"));
}

CardLicense chosen_license(const ReleaseOptions& options) {
  if (!options.license.empty()) return {options.license, "", ""};
  if (auto license = read_license_of(options.base)) return *license;
  log_info(concat("the base names no licence: the card says ", kApacheId, "; `--license ID` for another"));
  return {std::string(kApacheId), "", ""};
}

// Nothing where the text of a licence is not known.
std::optional<std::string> license_text(const ReleaseOptions& options, const CardLicense& license) {
  if (!options.license_file.empty())
    return read_whole_file(InputFile::open(options.license_file, "E0108"), 1u << 20, "E0108");
  if (options.license.empty())
    if (auto text = read_license_text_of(options.base)) return text;
  if (license.id == kApacheId) return std::string(apache_license());
  log_info(concat("no LICENSE is written: give the text of `", escape_for_log(license.id), "` with `--license-file`"));
  return std::nullopt;
}

AdapterExport adapter_options(const ReleaseOptions& options) {
  AdapterExport adapter;
  adapter.source = options.source;
  adapter.base = options.base;
  return adapter;
}

MergeOptions merge_options(const ReleaseOptions& options) {
  MergeOptions merge;
  merge.source = options.source;
  merge.base = options.base;
  merge.merge_base = options.merge_base;
  return merge;
}

CardFacts card_facts(const ReleaseOptions& options, const ExportSource& source, const BaseModel& base) {
  CardFacts card = facts_of(source, checked_name(options));
  card.library = "transformers";
  card.base_name = base_model_name(base);
  card.base_revision = revision_of(base.folder);
  card.license = chosen_license(options);
  if (!options.card.empty()) {
    const CardTexts texts = read_card_texts(options.card);
    card.summary = texts.summary;
    if (!texts.title.empty() && options.name.empty()) card.title = texts.title;
  }
  card.languages = options.languages;
  card.adult = options.adult;
  card.date = options.date;
  return card;
}

std::string gguf_path(const std::string& folder, const std::string& name, std::string_view type) {
  return join_path(join_path(folder, "gguf"), concat(name, "-", type, ".gguf"));
}

void write_gguf_files(const ReleaseOptions& options, const ExportSource& source, const BaseModel& base,
                      const CardFacts& card, const std::string& folder, FileDigests& digests) {
  make_directories(join_path(folder, "gguf"));
  const std::string name = checked_name(options);
  GgufExport model;
  model.license = card.license.id;
  model.license_link = card.license.link;
  model.languages = options.languages;
  model.merge_base = options.merge_base;
  model.name = name;
  for (const auto& [type, word] : {std::pair(GgufModelType::kF16, "F16"), std::pair(GgufModelType::kQ8_0, "Q8_0")}) {
    model.type = type;
    Sha256 hash;
    write_gguf_model({.options = model, .base = base, .adapter = &source, .file_hash = &hash},
                     gguf_path(folder, name, word));
    digests[gguf_path("", name, word)] = to_hex(hash.finish());
  }
  GgufLoraExport lora;
  lora.name = name;
  write_gguf_lora(lora, base.model->config(), source, gguf_path(folder, name, "LoRA-F16"));
}

void write_card(const std::string& folder, CardFacts card, const ReleaseOptions& options, const FileDigests& digests) {
  card.merge_base = word_of(options.merge_base);
  const std::optional<CorpusStats> statistics = data_statistics(card.stages, options.base);
  if (statistics) {
    card.statistics = &*statistics;
    write_file_atomically(folder, "message-lengths.svg", statistics->svg());
  }
  if (const auto text = license_text(options, card.license)) write_file_atomically(folder, "LICENSE", *text);
  write_with_record(folder, card, digests_of_files(folder, digests));
}

}  // namespace

void export_release(const ReleaseOptions& options) {
  check_date(options.date);
  const std::string name = checked_name(options);
  check_model_pattern(options.model_pattern);
  check_text("--license", options.license);
  for (const std::string& language : options.languages) check_text("--language", language);
  ExportFolder folder(options.out, {options.source.run, options.base}, options.force);
  const ExportSource source = open_export_source(options.source);
  const BaseModel base = open_base(options.base);
  if (options.gguf) check_gguf_base(base);
  CardFacts card = card_facts(options, source, base);

  make_directories(folder.path());
  const MergedExport merged =
      write_merged_export(merge_options(options), source, base, card, join_path(folder.path(), "merged"));
  card.base_fingerprint = merged.base_fingerprint;
  FileDigests digests;
  for (const auto& [name, digest] : merged.files) digests[join_path("merged", name)] = digest;
  write_adapter_export(adapter_options(options), source, card, join_path(folder.path(), "adapter"));
  if (options.gguf) write_gguf_files(options, source, base, card, folder.path(), digests);
  write_sillytavern(join_path(folder.path(), "sillytavern"), options.model_pattern);
  write_card(folder.path(), card, options, digests);
  folder.publish();
  log_info(concat("wrote ", folder.target(), ": its README.md is the model card"));
  if (options.gguf) log_quantize_commands(gguf_path(folder.target(), name, "F16"));
}

}  // namespace shori
