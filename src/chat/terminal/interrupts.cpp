#include "src/chat/terminal/interrupts.h"

#include <utility>

namespace shori {
namespace {

volatile std::sig_atomic_t was_interrupted = 0;
volatile std::sig_atomic_t terminal_changed = 0;

void on_signal(int signal) { (signal == SIGINT ? was_interrupted : terminal_changed) = 1; }

void install(int signal, struct sigaction& old) {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, &old);
}

bool take(volatile std::sig_atomic_t& flag) {
  const bool was_set = flag != 0;
  flag = 0;
  return was_set;
}

}  // namespace

Interrupts::Interrupts() {
  was_interrupted = 0;
  terminal_changed = 0;
  install(SIGINT, old_interrupt_);
  install(SIGWINCH, old_resize_);
  install(SIGCONT, old_continue_);
}

Interrupts::~Interrupts() {
  sigaction(SIGINT, &old_interrupt_, nullptr);
  sigaction(SIGWINCH, &old_resize_, nullptr);
  sigaction(SIGCONT, &old_continue_, nullptr);
}

bool Interrupts::interrupted() const { return was_interrupted != 0; }
bool Interrupts::take_interrupt() { return take(was_interrupted); }
bool Interrupts::take_terminal_change() { return take(terminal_changed); }

}  // namespace shori
