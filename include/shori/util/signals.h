// Stopping on a signal. The handlers only store a number; the program polls.
//
// SIGINT, SIGTERM and SIGHUP (unless inherited as ignored): the first one requests an orderly stop, the second ends the
// program at once, with exit code 130 or 143, after printing the note of set_stop_note(). SIGUSR1 requests a pinned
// checkpoint. SIGPIPE and SIGXFSZ are ignored.
#pragma once

#include <string>

namespace shori {

void install_signal_handlers();  // once, from main, before any thread exists

bool stop_requested();
int stop_signal();        // the signal of the first request; 0 if there was none
bool take_pin_request();  // true once per SIGUSR1

// The last durable step and the resume command. Printed on the second signal and by the handlers of SIGSEGV, SIGBUS,
// SIGFPE and SIGABRT, from a copy that signal handlers can read safely.
void set_stop_note(const std::string& text);

// Thrown by long loops (loading, quantizing, data checks, exports) when a stop was requested; main() turns it into exit
// code 130 or 143.
struct Stopped {};
void throw_if_stop_requested();

}  // namespace shori
