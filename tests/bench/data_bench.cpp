// Reading, tokenizing and packing a corpus, as a run does before its first step. data_against_tokenizers.py makes the
// corpus and compares; by hand:
//   SHORI_BENCH_CORPUS=FOLDER SHORI_TOKENIZER=tokenizer.model shori_bench --benchmark_filter=data
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "shori/data/dataset.h"
#include "shori/data/ledger.h"
#include "shori/data/pack_plan.h"
#include "shori/data/tokenizer.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "src/train/plan/make_batch.h"
#include "tests/support/library_tokenizer.h"

namespace shori {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// False, with a message in the report, where there is nothing to measure.
bool is_set_up(benchmark::State& state) {
  if (!variable("SHORI_BENCH_CORPUS").empty() && !variable("SHORI_TOKENIZER").empty()) return true;
  state.SkipWithError("SHORI_BENCH_CORPUS and SHORI_TOKENIZER must be set; see data_against_tokenizers.py");
  return false;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Read, parse, encode and mask.
Dataset load(const Tokenizer& tokenizer, int threads) {
  const std::string folder = variable("SHORI_BENCH_CORPUS");
  DataOptions options;
  options.sequence_len = 16384;
  options.overlong = OverlongPolicy::kSplit;
  options.train_on_inputs = true;
  options.vocab_size = tokenizer.vocab_size();
  options.threads = threads;
  DataEntry entry;
  entry.path = entry.resolved_path = folder;
  entry.type = "blockml";
  Diagnostics problems;
  Dataset data = load_datasets({entry}, {}, options, &tokenizer, problems);
  SHORI_CHECK(!problems.has_errors(), "the corpus is faulty: " + problems.all().front().message);
  return data;
}

// Plan of one epoch, its ledger, and every batch of it.
std::int64_t pack(const Dataset& data) {
  PlanOptions options;
  options.sequence_len = 16384;
  const PackPlan plan = make_pack_plan(sample_costs(data.train), options);
  benchmark::DoNotOptimize(build_ledger(data, plan));
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < plan.micro_batches.size(); ++i) tokens += make_batch(data.train, plan, i).real_tokens;
  return tokens;
}

void data_prepare(benchmark::State& state) {
  if (!is_set_up(state)) return;
  const Tokenizer tokenizer = Tokenizer::load(variable("SHORI_TOKENIZER"));
  double load_seconds = 0, pack_seconds = 0;
  std::int64_t tokens = 0, bytes = 0;
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    const Dataset data = load(tokenizer, static_cast<int>(state.range(0)));
    load_seconds += seconds_since(begin);
    const auto loaded = std::chrono::steady_clock::now();
    tokens = pack(data);
    pack_seconds += seconds_since(loaded);
    bytes = 0;
    for (const DataFile& file : data.files) bytes += static_cast<std::int64_t>(file.size);
  }
  state.SetBytesProcessed(state.iterations() * bytes);
  const auto count = static_cast<double>(state.iterations());
  state.counters["load_seconds"] = load_seconds / count;
  state.counters["pack_seconds"] = pack_seconds / count;
  state.counters["tokens"] = static_cast<double>(tokens);
}
BENCHMARK(data_prepare)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(1);

std::vector<std::string> read_corpus() {
  std::vector<std::string> texts;
  for (const auto& item : std::filesystem::recursive_directory_iterator(variable("SHORI_BENCH_CORPUS"))) {
    if (!item.is_regular_file()) continue;
    std::ifstream file(item.path(), std::ios::binary);
    texts.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return texts;
}

std::int64_t total_bytes(const std::vector<std::string>& texts) {
  std::int64_t bytes = 0;
  for (const std::string& text : texts) bytes += std::ssize(text);
  return bytes;
}

// The tokenizer alone, one thread, texts in memory.
void data_encode_only(benchmark::State& state) {
  if (!is_set_up(state)) return;
  const Tokenizer tokenizer = Tokenizer::load(variable("SHORI_TOKENIZER"));
  const std::vector<std::string> texts = read_corpus();
  for (auto _ : state) {
    for (const std::string& text : texts) benchmark::DoNotOptimize(tokenizer.encode(text));
  }
  state.SetBytesProcessed(state.iterations() * total_bytes(texts));
}
BENCHMARK(data_encode_only)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(1);

// Processor seconds of one text, which do not depend on what else runs on the machine; its ids go to `ids`.
double seconds_to_encode(const Tokenizer& tokenizer, const std::string& text, std::vector<std::int32_t>& ids) {
  const std::clock_t begin = std::clock();
  ids = tokenizer.encode(text);
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

// The word cache against the SentencePiece library on the same texts, text by text in turn, so that both have the machine in
// the same state. The cache is empty at first. Ids must be equal.
void data_encode_against_library(benchmark::State& state) {
  if (!is_set_up(state)) return;
  const std::string path = variable("SHORI_TOKENIZER");
  const std::string file = read_whole_file(InputFile::open(path), kTokenizerFileBytes, "E0211");
  const Tokenizer library = test::library_tokenizer(parse_tokenizer_model(file, path));
  const std::vector<std::string> texts = read_corpus();
  double library_seconds = 0, seconds = 0;
  for (auto _ : state) {
    const Tokenizer tokenizer = Tokenizer::from_bytes(file, path);
    SHORI_CHECK(tokenizer.uses_word_cache() && !library.uses_word_cache(), "not what is to be compared");
    std::vector<std::int32_t> expected, ids;
    for (const std::string& text : texts) {
      library_seconds += seconds_to_encode(library, text, expected);
      seconds += seconds_to_encode(tokenizer, text, ids);
      SHORI_CHECK(ids == expected, "other ids than the library's");
    }
  }
  const double megabytes = static_cast<double>(state.iterations() * total_bytes(texts)) / 1e6;
  state.counters["library_MB_per_second"] = megabytes / library_seconds;
  state.counters["MB_per_second"] = megabytes / seconds;
  state.counters["ratio"] = library_seconds / seconds;
}
BENCHMARK(data_encode_against_library)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(1);

}  // namespace
}  // namespace shori
