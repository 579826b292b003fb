// Stopping when told. Handlers only store a number; the program polls.
//
// SIGINT, SIGTERM, SIGHUP (unless inherited as ignored): the first asks for an orderly stop, a second ends the program
// at once (exit 130 or 143 after printing the note set below). SIGUSR1 asks for a checkpoint that is kept. SIGPIPE and
// SIGXFSZ are ignored.
#pragma once

#include <string>

namespace shori {

void install_signal_handlers();  // once, from main, before any thread exists

bool stop_requested();
int stop_signal();        // the signal number of the first request; 0 = none
bool take_pin_request();  // true once for each SIGUSR1

// Shown by the second signal and by the handlers of SIGSEGV, SIGBUS, SIGFPE, SIGABRT (async-signal-safe copy): last
// durable step and the resume command.
void set_stop_note(const std::string& text);

// Thrown by long loops (loading, quantizing, data checks, exports) when a stop was requested; main turns it into 130 or
// 143.
struct Stopped {};
void throw_if_stop_requested();

}  // namespace shori
