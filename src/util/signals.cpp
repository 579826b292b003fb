#include "shori/util/signals.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "shori/util/build_info.h"

namespace shori {
namespace {

constexpr std::size_t kNoteSize = 16384;
constexpr std::size_t kCrashStackSize = 64 * 1024;

volatile sig_atomic_t first_stop = 0;
volatile sig_atomic_t pins_asked = 0;
sig_atomic_t pins_taken = 0;
char crash_stack[kCrashStackSize];

// Two notes, used alternately: a handler that runs while one is being written reads the other.
char notes[2][kNoteSize];
std::atomic<int> current_note{0};
static_assert(std::atomic<int>::is_always_lock_free);

// From here to on_crash() only async-signal-safe calls are allowed.
void write_text(const char* text) {
  std::size_t size = std::strlen(text);
  while (size > 0) {
    const ssize_t written = write(STDERR_FILENO, text, size);
    if (written <= 0) return;
    text += written;
    size -= static_cast<std::size_t>(written);
  }
}

void write_note() {
  const char* note = notes[current_note.load(std::memory_order_acquire)];
  if (note[0] == '\0') return;
  write_text(note);
  write_text("\n");
}

void on_stop(int signal) {
  if (first_stop == 0) {
    first_stop = signal;
    return;
  }
  write_text("\nstopped at once\n");
  write_note();
  _exit(signal == SIGINT ? 130 : 143);
}

void on_pin(int) { pins_asked = pins_asked + 1; }

void on_crash(int signal) {
  write_text("\nthe program crashed (");
  write_text(signal == SIGSEGV ? "SIGSEGV" : signal == SIGBUS ? "SIGBUS" : signal == SIGFPE ? "SIGFPE" : "SIGABRT");
  write_text("), build ");
  write_text(build_id());
  write_text("\n");
  write_note();
  // SA_RESETHAND has restored the default action, which happens now.
  raise(signal);
}

void set_handler(int signal, void (*handler)(int), int flags) {
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

bool is_ignored(int signal) {
  struct sigaction action{};
  return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

void install_signal_handlers() {
  set_handler(SIGINT, on_stop, SA_RESTART);
  set_handler(SIGTERM, on_stop, SA_RESTART);
  // A program started by nohup inherits SIGHUP as ignored, and it stays ignored.
  if (!is_ignored(SIGHUP)) set_handler(SIGHUP, on_stop, SA_RESTART);
  set_handler(SIGUSR1, on_pin, SA_RESTART);
  set_handler(SIGPIPE, SIG_IGN, 0);
  set_handler(SIGXFSZ, SIG_IGN, 0);
  // Crash handlers have their own stack, so that a stack overflow is reported too.
  stack_t stack{};
  stack.ss_sp = crash_stack;
  stack.ss_size = sizeof crash_stack;
  sigaltstack(&stack, nullptr);
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT}) set_handler(signal, on_crash, SA_RESETHAND | SA_ONSTACK);
}

bool stop_requested() { return first_stop != 0; }

int stop_signal() { return first_stop; }

bool take_pin_request() {
  if (pins_taken == pins_asked) return false;
  ++pins_taken;
  return true;
}

void set_stop_note(const std::string& text) {
  const int next = 1 - current_note.load(std::memory_order_relaxed);
  const std::size_t size = std::min(text.size(), kNoteSize - 1);
  std::memcpy(notes[next], text.data(), size);
  notes[next][size] = '\0';
  current_note.store(next, std::memory_order_release);
}

void throw_if_stop_requested() {
  if (stop_requested()) throw Stopped{};
}

}  // namespace shori
