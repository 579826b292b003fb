// The server of shori-chat over a model that is a clock: a token is a byte, replies count, every token takes as long as
// the test says. Queues, disconnects and limits need no weights.
//   fake_chat_server HOST PORT MS_PER_TOKEN MS_OF_PROMPT MOST_WAITING [KEY]
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>

#include "shori/util/error.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/chat/server/completion_service.h"
#include "src/chat/server/http/access.h"

namespace shori {
namespace {

class ClockEngine : public TextEngine {
 public:
  ClockEngine(int token_ms, int prompt_ms) : token_ms_(token_ms), prompt_ms_(prompt_ms) {}

  const ServedModel& model() const override { return served_; }
  std::int32_t bos_id() const override { return 256; }
  std::vector<std::int32_t> tokenize(std::string_view text) const override {
    std::vector<std::int32_t> ids;
    for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
    return ids;
  }
  std::string bytes_of(std::span<const std::int32_t> ids) const override {
    std::string bytes;
    for (const std::int32_t id : ids)
      if (id < 256) bytes += static_cast<char>(id);
    return bytes;
  }

  EngineResult generate(const EngineTask& task, const TakePart& on_part,
                        const std::function<bool()>& cancelled) override {
    EngineResult result;
    std::string held;
    if (!sleep(prompt_ms_, cancelled)) return cancel(result);
    for (std::int64_t i = 0; i < task.max_tokens; ++i) {
      result.ids.push_back(0);
      held += concat(i, "é ");
      const bool is_held = i == 1 && task.max_tokens > 3;  // as the first half of a character
      if ((!is_held && !on_part(std::exchange(held, ""), i + 1)) || !sleep(token_ms_, cancelled)) return cancel(result);
    }
    return result;
  }

 private:
  static bool sleep(int ms, const std::function<bool()>& cancelled) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    while (std::chrono::steady_clock::now() < end) {
      if (cancelled()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(std::min(ms, 20)));
    }
    return !cancelled();
  }
  static EngineResult cancel(EngineResult& result) {
    log_info(concat("cancelled after ", result.ids.size()));
    result.stop = EngineStop::kCancelled;
    return result;
  }

  ServedModel served_{.id = "shori-clock", .context = 1000, .vocab_size = 257};
  int token_ms_, prompt_ms_;
};

int run(int count, char** given) {
  if (count < 6) return 2;
  install_signal_handlers();
  ClockEngine engine(std::stoi(given[3]), std::stoi(given[4]));
  CompletionService service(engine, std::stoul(given[5]));
  AccessRules rules{.is_loopback_only = is_loopback(given[1])};
  if (count > 6) rules.keys.emplace_back(given[6]);
  HttpLimits limits;
  limits.read = {.head_time = std::chrono::seconds(1), .body_time = std::chrono::seconds(1)};
  limits.write_time = std::chrono::seconds(1);
  limits.connections = 80;
  HttpServer server(service.handlers(rules), limits);
  log_info(concat("serving at port ", server.listen(given[1], std::stoi(given[2]))));
  server.run(stop_requested);
  return 0;
}

}  // namespace
}  // namespace shori

int main(int count, char** given) {
  try {
    return shori::run(count, given);
  } catch (const shori::Error& error) {
    shori::log_error(error.diagnostics().front());
    return error.exit_code();
  }
}
