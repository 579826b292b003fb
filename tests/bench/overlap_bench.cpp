// The search for copies alone: conversations of 700 words in memory, each with the same passage of 40 words in it,
// every hundredth a near copy of the one before. Ten times the data should take ten times as long.
//   shori_bench --benchmark_filter=find_copies
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "shori/util/error.h"
#include "src/data/overlap/overlap.h"

namespace shori {
namespace {

std::string random_words(std::mt19937& random, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += "word" + std::to_string(random() % 5000) + " ";
  return text;
}

std::vector<std::string> make_texts(std::size_t count) {
  std::mt19937 random(3);
  const std::string passage = random_words(random, 40);
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) {
    const bool copy = i % 100 == 99;
    texts.push_back(copy ? texts.back() + "changed" : passage + random_words(random, 660));
  }
  return texts;
}

void find_copies(benchmark::State& state) {
  const std::vector<std::string> texts = make_texts(static_cast<std::size_t>(state.range(0)));
  std::size_t bytes = 0, found = 0;
  for (const std::string& text : texts) bytes += text.size();
  for (auto _ : state) {
    std::vector<OverlapItem> items(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) items[i].sketch = sketch_text(texts[i]);
    found = find_overlap(items).in_train.size();
  }
  SHORI_CHECK(found == texts.size() / 100, "copies found: " + std::to_string(found));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
  state.counters["copies"] = static_cast<double>(found);
}
BENCHMARK(find_copies)->Arg(400)->Arg(4000)->Arg(40000)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(1);

}  // namespace
}  // namespace shori
