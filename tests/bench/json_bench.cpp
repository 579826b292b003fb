// Reading 18 MB of JSONL with long texts, line by line: the reader of util, and nlohmann's SAX interface with a handler
// that keeps nothing, which is the most that a reader built on it could reach. By hand:
//   shori_bench --benchmark_filter=json_read
#include <benchmark/benchmark.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "shori/util/error.h"
#include "shori/util/json.h"
#include "shori/util/json_text.h"

namespace shori {
namespace {

constexpr std::int64_t kBytes = 18'000'000;

// A conversation of a few kilobytes with the marks, quotes and line ends of real ones.
std::string random_conversation(std::mt19937& random) {
  std::string text = "▀title\nA road of dust▄\n";
  for (std::size_t message = 5 + random() % 30; message > 0; --message) {
    text += "▀message Aya\n\"";
    for (std::size_t word = 20 + random() % 150; word > 0; --word) text.append(2 + random() % 8, 'a').push_back(' ');
    text += "\"\n\n*She waits — and listens.*▄\n";
  }
  return text;
}

const std::vector<std::string>& lines() {
  static const std::vector<std::string> all = [] {
    std::mt19937 random(1);
    std::vector<std::string> made;
    for (std::int64_t bytes = 0; bytes < kBytes; bytes += std::ssize(made.back()))
      made.push_back(json_text({{"text", random_conversation(random)}, {"id", std::to_string(bytes)}}));
    return made;
  }();
  return all;
}

void set_bytes(benchmark::State& state) {
  std::int64_t bytes = 0;
  for (const std::string& line : lines()) bytes += std::ssize(line);
  state.SetBytesProcessed(state.iterations() * bytes);
}

void json_read(benchmark::State& state) {
  for (auto _ : state) {
    for (const std::string& line : lines()) {
      JsonProblem problem;
      const auto value = parse_json(line, {}, problem);
      SHORI_CHECK(value, problem.message);
      benchmark::DoNotOptimize(value->members.size());
    }
  }
  set_bytes(state);
}
BENCHMARK(json_read)->Unit(benchmark::kMillisecond);

struct IgnoreEverything : nlohmann::json_sax<nlohmann::json> {
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }
};

void json_read_nlohmann(benchmark::State& state) {
  IgnoreEverything handler;
  for (auto _ : state) {
    for (const std::string& line : lines())
      SHORI_CHECK(nlohmann::json::sax_parse(line, &handler), "the generated line is not JSON");
  }
  set_bytes(state);
}
BENCHMARK(json_read_nlohmann)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace shori
