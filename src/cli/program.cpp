#include "src/cli/program.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <new>
#include <utility>
#include <vector>

#include "shori/config/vocabulary.h"
#include "shori/util/build_info.h"
#include "shori/util/command.h"
#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/log.h"
#include "shori/util/signals.h"
#include "shori/util/text.h"
#include "shori/util/utf8.h"

namespace shori {
namespace {

// A command with a similar name, or an option of that name: "check --fix" for "fix"; else empty.
std::string likely_command(const CLI::App& app, const std::string& given, const std::vector<std::string>& names) {
  if (given == "help" || given == "version") return "--" + given;
  if (std::string similar = find_similar_name(given, names); !similar.empty()) return similar;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    for (const CLI::Option* option : command->get_options()) {
      const auto& options = option->get_lnames();
      if (std::find(options.begin(), options.end(), given) != options.end())
        return concat(command->get_name(), " --", given);
    }
  }
  return "";
}

// "unknown command `chek`; ..." where the first argument that is no option names no command; empty otherwise.
std::string unknown_command(const CLI::App& app, const std::vector<std::string>& arguments) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  if (names.empty() || !app.get_subcommands().empty()) return "";
  for (const std::string& given : arguments) {
    if (given.starts_with("-")) continue;
    const std::string meant = likely_command(app, given, names);
    const std::string proposal =
        meant.empty() ? "choose one of " + join_words(names) : concat("did you mean `", meant, "`?");
    return concat("unknown command `", escape_for_log(given), "`; ", proposal);
  }
  return "";
}

// The same for an option of the command that was given, or of a program without commands.
std::string unknown_option(const CLI::App& app) {
  const std::vector<CLI::App*> given = app.get_subcommands();
  const CLI::App& command = given.empty() ? app : *given.front();
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  for (const std::string& rest : app.remaining(true)) {
    if (!rest.starts_with("--")) continue;
    const std::string name = rest.substr(0, rest.find('='));
    const std::string similar = find_similar_name(name, names);
    const std::string proposal = similar.empty() ? "" : concat("; did you mean `", similar, "`?");
    return concat("unknown option `", escape_for_log(name), "`", proposal);
  }
  return "";
}

// --help and --version end the parser as well.
int exit_of_parser(const CLI::App& app, const CLI::ParseError& error, const std::vector<std::string>& arguments) {
  if (error.get_exit_code() == 0) return app.exit(error);
  std::string message = unknown_command(app, arguments);
  const bool has_extras = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError);
  if (message.empty() && has_extras) message = unknown_option(app);
  if (message.empty()) {
    app.exit(error);
  } else {
    app.exit(CLI::ValidationError(message));
  }
  return kExitUsage;
}

// Where the parent closed a standard stream, a file that is opened later would take its number, and what the program prints
// would stand in a checkpoint.
void open_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // The lowest free number is that of the stream: those below it are open.
    if (fcntl(stream, F_GETFD) == -1 && errno == EBADF) open("/dev/null", O_RDWR);
  }
}

// Of a pipe or a terminal: `| head` has what it wants.
bool reader_has_gone() {
  pollfd output{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  return poll(&output, 1, 0) > 0 && (output.revents & (POLLERR | POLLHUP)) != 0;
}

// The exit code of a program that ends with `code`. What stdout does not take may have been refused long before.
int exit_after_output(int code) {
  const bool flushed = std::fflush(stdout) == 0;
  const int error = errno;
  if ((flushed && std::ferror(stdout) == 0) || reader_has_gone()) return code;
  if (code == kExitDisk) return code;  // an error that was reported
  log_error(Diagnostic("E0512", concat("cannot write to stdout", flushed ? "" : concat(": ", error_text(error))))
                .note("the output is not whole"));
  return code == 0 ? kExitDisk : code;
}

int run_parser(CLI::App& app, const std::string& called_as, const std::vector<std::string>& arguments) {
  try {
    set_called_as(called_as);
    install_signal_handlers();
    app.name(file_name(called_as));
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(std::move(reversed));
    return 0;
  } catch (const CLI::RuntimeError& end) {
    return end.get_exit_code();
  } catch (const CLI::ParseError& error) {
    return exit_of_parser(app, error, arguments);
  } catch (const Error& error) {
    for (const Diagnostic& diagnostic : error.diagnostics()) log_error(diagnostic);
    return error.exit_code();
  } catch (const Stopped&) {
    log_info("stopped by a signal; no file is half-written");
    return 128 + (stop_signal() == SIGTERM ? SIGTERM : SIGINT);
  } catch (const std::bad_alloc&) {
    log_error(
        Diagnostic("E0001", "out of host memory").help("a shorter `sequence_len`, or a machine with more memory"));
  } catch (const std::exception& error) {
    log_error(
        Diagnostic("E0001", concat("unexpected error: ", error.what())).help("report it with this line and run.json"));
  }
  return 1;
}

}  // namespace

void add_program_options(CLI::App& app, const std::string& name) {
  app.set_version_flag("--version", concat(name, " ", version(), " (", build_id(), ")"));
  app.add_flag_callback(
      "--json-errors", [] { set_json_errors(true); }, "errors and warnings as one JSON object per line");
}

int run_program(CLI::App& app, int argc, char** argv) {
  return run_program(app, argv[0], std::vector<std::string>(argv + 1, argv + argc));
}

int run_program(CLI::App& app, const std::string& called_as, const std::vector<std::string>& arguments) {
  open_standard_streams();
  return exit_after_output(run_parser(app, called_as, arguments));
}

}  // namespace shori
