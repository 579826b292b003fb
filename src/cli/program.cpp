#include "src/cli/program.h"

#include <csignal>
#include <new>
#include <string>

#include "shori/util/error.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"

namespace shori {

int run_program(const std::function<int()>& work) {
  try {
    install_signal_handlers();
    return work();
  } catch (const Error& error) {
    for (const Diagnostic& diagnostic : error.diagnostics()) log_error(diagnostic);
    return error.exit_code();
  } catch (const Stopped&) {
    log_info("stopped by a signal; nothing is left half-written");
    return 128 + (stop_signal() == SIGTERM ? SIGTERM : SIGINT);
  } catch (const std::bad_alloc&) {
    log_error(
        Diagnostic("E0001", "out of host memory").help("a shorter `sequence_len`, or a machine with more memory"));
  } catch (const std::exception& error) {
    log_error(
        Diagnostic("E0001", std::string("unexpected: ") + error.what()).help("report it with this line and run.json"));
  }
  return 1;
}

}  // namespace shori
