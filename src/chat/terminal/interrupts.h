// Ctrl-C, window size and return from the background, while a chat has the terminal.
#pragma once

#include <csignal>

namespace shori {

// Takes over SIGINT, SIGWINCH and SIGCONT; gives SIGINT back at its end. At most one at a time. SIGTERM and SIGHUP stay with
// signals.h.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  bool interrupted() const;     // since it was taken last
  bool take_interrupt();        // true once per Ctrl-C
  bool take_terminal_change();  // the window has another size, or the program is in the foreground again

 private:
  struct sigaction old_interrupt_, old_resize_, old_continue_;
};

}  // namespace shori
