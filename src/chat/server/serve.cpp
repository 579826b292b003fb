#include "shori/chat/serve.h"

#include <thread>

#include "shori/util/error.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "src/chat/server/completion_service.h"
#include "src/chat/server/http/access.h"
#include "src/chat/server/model_engine.h"

namespace shori {
namespace {

struct ServePlan {
  ListenAddress address;
  AccessRules rules = {};
};

ServePlan plan_of(const ServeOptions& options) {
  ServePlan plan{.address = parse_listen_address(options.address)};
  if (!options.api_key_file.empty()) plan.rules.keys = read_api_keys(options.api_key_file);
  plan.rules.is_loopback_only = is_loopback(plan.address.host);
  if (!plan.rules.is_loopback_only && plan.rules.keys.empty())
    throw Error(
        Diagnostic("E0116",
                   concat("--serve ", options.address, ": other machines can connect, and no key is asked for"))
            .help("make a key with `(umask 077; openssl rand -hex 24 > key.txt)` and add `--api-key-file key.txt`")
            .help(concat("`--serve ", plan.address.port, "` for programs on this machine only")));
  return plan;
}

std::string url_of(const std::string& host, int port) {
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return concat("http://", is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "", ":", port);
}

}  // namespace

void check_serve_options(const ServeOptions& options) {
  const ServePlan plan = plan_of(options);
  if (!options.api_key_file.empty()) warn_if_others_read(options.api_key_file);
  HttpServer({}, {}).listen(plan.address.host, plan.address.port);
}

void serve(LanguageModel& model, const Tokenizer& tokenizer, const std::string& name, const ServeOptions& options) {
  const ServePlan plan = plan_of(options);
  ModelThread thread;
  ModelEngine engine(model, tokenizer, name, thread);
  CompletionService service(engine, options.most_waiting);
  HttpServer server(service.handlers(plan.rules), {});
  const int port = server.listen(plan.address.host, plan.address.port);
  log_result(concat("serving ", engine.model().id, " at ", url_of(plan.address.host, port), " (context ",
                    engine.model().context, " tokens, ", plan.rules.keys.empty() ? "no key" : "with a key", ")"));
  std::thread connections([&server, &thread] {
    server.run(stop_requested);
    thread.finish();
  });
  thread.work();
  connections.join();
  log_result("stopped");
}

}  // namespace shori
