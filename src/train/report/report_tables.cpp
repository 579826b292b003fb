// The tables of a report. Every text of a file or of a person passes escape_markup().
#include <algorithm>
#include <cstdio>

#include "shori/data/corpus_stats.h"
#include "shori/train/run_folder.h"
#include "shori/util/byte_size.h"
#include "shori/util/file.h"
#include "shori/util/json_text.h"
#include "shori/util/number_text.h"
#include "shori/util/page/markup.h"
#include "shori/util/progress.h"
#include "shori/util/text.h"
#include "src/train/report/report_page.h"

namespace shori {
namespace {

using Row = std::vector<std::string>;

std::string cells(const Row& row, std::string_view tag) {
  std::string text = "<tr>";
  for (const std::string& cell : row) text += concat("<", tag, ">", escape_markup(cell), "</", tag, ">");
  return text + "</tr>\n";
}

std::string table(std::string_view name, const Row& head, const std::vector<Row>& rows) {
  std::string text =
      concat("<div class=\"wide\"><table class=\"", name, "\">\n<thead>", cells(head, "th"), "</thead>\n<tbody>\n");
  for (const Row& row : rows) text += cells(row, "td");
  return text + "</tbody></table></div>\n";
}

std::string details(std::string_view title, const std::string& content) {
  return content.empty() ? ""
                         : concat("<details><summary>", escape_markup(title), "</summary>\n", content, "</details>\n");
}

std::string state_of(const RunRecord& run) {
  if (run.done) return "finished";
  return run.total_steps == 0 ? "not finished"
                              : concat("not finished, step ", run.last_step(), " of ", run.total_steps);
}

std::string best_evaluation(const RunRecord& run) {
  const EvalRecord* best = run.best_evaluation();
  return best ? concat(loss_text(best->loss), " at step ", best->step) : "none";
}

std::string bytes_text(std::int64_t bytes) {
  return format_bytes(static_cast<std::uint64_t>(std::max<std::int64_t>(0, bytes)));
}

Row stage_row(const RunRecord& run) {
  return {run.stage,
          state_of(run),
          with_commas(static_cast<std::int64_t>(run.last_step())),
          with_commas(run.tokens()),
          run.loss_span(),
          best_evaluation(run),
          run.timings.empty() ? "unknown" : format_duration(run.seconds()),
          run.memory_peak_bytes() > 0 ? bytes_text(run.memory_peak_bytes()) : "unknown",
          run.adapter_sha256.empty() ? "none" : run.adapter_sha256.substr(0, 8)};
}

// Paths of this machine end at their last part.
std::string without_folders(const std::string& text) {
  return text.starts_with('/') || text.starts_with('~') ? file_name(text) : text;
}

std::string value_text(const JsonValue& value) {
  std::string text;
  switch (value.kind) {
    case JsonValue::Kind::kNull:
      return "not set";
    case JsonValue::Kind::kBool:
      return value.boolean ? "true" : "false";
    case JsonValue::Kind::kNumber:
      return value.text;
    case JsonValue::Kind::kString:
      if (const auto real = double_from_bits_hex(value.text)) return format_double(*real);
      return without_folders(value.text);
    case JsonValue::Kind::kArray:
      for (const JsonValue& item : value.items) text += concat(text.empty() ? "" : ", ", value_text(item));
      return concat("[", text, "]");
    case JsonValue::Kind::kObject:
      for (const auto& [key, member] : value.members)
        text += concat(text.empty() ? "" : ", ", key, ": ", value_text(member));
      return concat("{", text, "}");
  }
  return text;
}

std::vector<Row> member_rows(const JsonValue& object) {
  std::vector<Row> rows;
  for (const auto& [key, value] : object.members) rows.push_back({key, value_text(value)});
  return rows;
}

std::int64_t integer_in(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.find(key);
  return value ? value->as_integer().value_or(0) : 0;
}

// The picture of the lengths that data_report.json has; "" where it has none.
std::string message_lengths_figure(const JsonValue& report, std::string_view id) {
  constexpr std::int64_t kMostMessages = 20'000'000;
  const JsonValue* lengths = report.find("message_lengths");
  const JsonValue *tokens = lengths ? lengths->find("tokens") : nullptr,
                  *messages = lengths ? lengths->find("messages") : nullptr;
  if (!tokens || !messages || tokens->items.size() != messages->items.size()) return "";
  LengthDistribution distribution;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < tokens->items.size(); ++i) {
    const std::int64_t length = std::max<std::int64_t>(0, tokens->items[i].as_integer().value_or(0));
    const std::int64_t count = std::max<std::int64_t>(0, messages->items[i].as_integer().value_or(0));
    if (count > kMostMessages - total) return "";
    total += count;
    for (std::int64_t k = 0; k < count; ++k) distribution.add(length);
  }
  if (total == 0) return "";
  distribution.sort();
  return concat("<figure class=\"lengths\">\n", lengths_picture(distribution, id), "</figure>\n");
}

std::optional<JsonValue> read_data_report(const RunRecord& run) {
  constexpr std::size_t kLimit = 64u << 20;
  if (!path_exists(join_path(run.folder, "data_report.json"))) return std::nullopt;
  const std::string text =
      read_whole_file(InputFile::open_in(run.folder, "data_report.json", "E0506"), kLimit, "E0506");
  JsonProblem problem;
  return parse_json(text, {.bytes = kLimit}, problem);
}

}  // namespace

std::string stage_table(const std::vector<RunRecord>& runs) {
  std::vector<Row> rows;
  for (const RunRecord& run : runs) rows.push_back(stage_row(run));
  return table(
      "stages",
      {"stage", "state", "steps", "tokens", "loss, first to last", "best evaluation", "time", "peak memory", "adapter"},
      rows);
}

std::string evaluation_table(const RunRecord& run) {
  constexpr std::size_t kMost = 200;
  std::vector<Row> rows;
  const std::size_t first = run.evals.size() > kMost ? run.evals.size() - kMost : 0;
  for (std::size_t i = first; i < run.evals.size(); ++i) {
    const EvalRecord& eval = run.evals[i];
    rows.push_back({concat(eval.step), eval.dataset, loss_text(eval.loss), format_double(eval.perplexity)});
  }
  if (rows.empty()) return "";
  const std::string title =
      first == 0 ? "Evaluations"
                 : concat("The last ", kMost, " of ", run.evals.size(), " evaluations; the curve has all");
  return details(title, table("evaluations", {"step", "data set", "loss", "perplexity"}, rows));
}

std::string sample_section(const RunRecord& run) {
  constexpr std::size_t kMostBytes = 200'000;
  std::string text;
  std::size_t shown = run.samples.size(), bytes = 0;
  while (shown > 0 && bytes < kMostBytes) bytes += run.samples[--shown].text.size();
  if (shown > 0) text += concat("<p>The ", shown, " earliest samples are in metrics.jsonl.</p>\n");
  for (std::size_t i = shown; i < run.samples.size(); ++i) {
    const SampleRecord& sample = run.samples[i];
    text += concat("<h4>Step ", sample.step, ", ", escape_markup(sample.prompt), ", ", escape_markup(sample.preset),
                   "</h4>\n<pre>", escape_markup(sample.text), "</pre>\n");
  }
  return details("Samples", text);
}

std::string memory_section(const RunRecord& run) {
  const JsonValue* plan = run.run ? run.run->find("memory_plan") : nullptr;
  std::vector<Row> rows;
  std::int64_t planned = 0;
  if (plan && plan->is_array()) {
    for (const JsonValue& part : plan->items) {
      const JsonValue* name = part.find("part");
      const std::int64_t bytes = integer_in(part, "bytes");
      rows.push_back({name ? value_text(*name) : "", bytes_text(bytes), with_commas(bytes)});
      planned += bytes;
    }
    rows.push_back({"planned in total", bytes_text(planned), with_commas(planned)});
  }
  const auto add_peak = [&](const char* name, std::int64_t TimingRecord::* member) {
    std::int64_t peak = 0;
    for (const TimingRecord& timing : run.timings) peak = std::max(peak, timing.*member);
    if (peak > 0) rows.push_back({name, bytes_text(peak), with_commas(peak)});
  };
  add_peak("measured: own allocations on the GPU at their peak", &TimingRecord::gpu_memory_peak_bytes);
  add_peak("measured: in use on the GPU at its peak, other programs included", &TimingRecord::gpu_memory_bytes);
  add_peak("measured: memory of the process at its peak", &TimingRecord::memory_peak_bytes);
  return rows.empty() ? "" : details("Memory", table("memory", {"part", "memory", "bytes"}, rows));
}

std::string data_section(const RunRecord& run, std::string_view id) {
  constexpr std::size_t kMost = 200;
  const auto report = read_data_report(run);
  if (!report) return "";
  const JsonValue* total = report->find("total");
  const JsonValue* files = report->find("files");
  std::string text = message_lengths_figure(*report, id);
  if (total) text += table("ledger", {"in total", ""}, member_rows(*total));
  if (files && files->is_array()) {
    std::vector<Row> rows;
    for (const JsonValue& file : files->items) {
      const auto cell = [&file](std::string_view key) {
        const JsonValue* value = file.find(key);
        return value ? value_text(*value) : std::string();
      };
      rows.push_back(
          {cell("path"), cell("conversations"), cell("tokens_packed"), cell("tokens_held_out"), cell("targets")});
    }
    if (rows.size() > kMost)
      text += concat("<p>The first ", kMost, " of ", rows.size(), " files; data_report.json has all.</p>\n");
    rows.resize(std::min(kMost, rows.size()));
    text += table("files", {"file", "conversations", "tokens trained", "tokens held out", "targets"}, rows);
  }
  return details("Data", text);
}

std::string config_section(const RunRecord& run) {
  const JsonValue* config = run.run ? run.run->find("config") : nullptr;
  return config ? details("Settings", table("config", {"key", "value"}, member_rows(*config))) : "";
}

std::string provenance_section(const RunRecord& run) {
  if (!run.run) return "";
  std::vector<Row> rows;
  for (const char* key :
       {"version", "build", "device", "config_hash", "data_fingerprint", "plan_sha256", "tokenizer_sha256", "parent"})
    if (const JsonValue* value = run.run->find(key)) rows.push_back({key, value_text(*value)});
  if (const JsonValue* base = run.run->find("base"))
    for (const auto& [key, value] : base->members) rows.push_back({concat("base ", key), value.text});
  if (const JsonValue* data = run.run->find("data"))
    for (std::size_t i = 0; i < std::min<std::size_t>(200, data->items.size()); ++i)
      if (const JsonValue *path = data->items[i].find("path"), *sha = data->items[i].find("sha256"); path && sha)
        rows.push_back({concat("data ", value_text(*path)), sha->text});
  if (const JsonValue* adapter = run.done ? run.done->find("adapter") : nullptr)
    for (const auto& [name, sha] : adapter->members) rows.push_back({concat("adapter/", name), sha.text});
  return details("Provenance", table("provenance", {"what", "value or SHA-256"}, rows));
}

}  // namespace shori
