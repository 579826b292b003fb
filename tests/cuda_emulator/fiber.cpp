#include "tests/cuda_emulator/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SHORI_FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SHORI_FIBER_ASAN 1
#endif
#endif

#ifdef SHORI_FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace shori::emulator {
namespace {

constexpr std::size_t kGuardBytes = 4096;
// Frames under AddressSanitizer are several times as large as others. Pages that are never touched cost nothing.
constexpr std::size_t kStackBytes = 256 * 1024;

Fiber* running_fiber = nullptr;
void* scheduler_stack = nullptr;  // saved stack pointer (or context) of the caller of resume()

#ifdef SHORI_FIBER_ASAN
const void* scheduler_bottom = nullptr;
std::size_t scheduler_size = 0;
#endif

// AddressSanitizer keeps a record of the stack. Before each switch it needs the bounds of the next stack, and after it a
// call that completes the switch; `frame` carries its state across. A null frame means that the old stack will not be used
// again.
void before_switch([[maybe_unused]] void** frame, [[maybe_unused]] const void* bottom,
                   [[maybe_unused]] std::size_t size) {
#ifdef SHORI_FIBER_ASAN
  __sanitizer_start_switch_fiber(frame, bottom, size);
#endif
}

void after_switch([[maybe_unused]] void* frame) {
#ifdef SHORI_FIBER_ASAN
  const void* bottom = nullptr;
  std::size_t size = 0;
  __sanitizer_finish_switch_fiber(frame, &bottom, &size);
  if (running_fiber != nullptr) {
    scheduler_bottom = bottom;
    scheduler_size = size;
  }
#endif
}

}  // namespace

#if defined(__x86_64__)
// Saves the registers that the System V ABI preserves across calls, switches stacks, and returns on the other one. It takes
// 2 ns; swapcontext() takes 100 times as long, because it sets the signal mask by a system call. The floating-point control
// words are the same on all fibers.
extern "C" void shori_switch_stack(void** saved, void* next);
asm(R"(
.text
.globl shori_switch_stack
.type shori_switch_stack,@function
shori_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size shori_switch_stack,.-shori_switch_stack
)");

namespace {
void switch_stack(void** saved, void* next) { shori_switch_stack(saved, next); }

void* first_frame(void* stack, void (*function)()) {
  auto* top = reinterpret_cast<void**>(static_cast<char*>(stack) + kStackBytes);
  top[-1] = nullptr;                            // end of the call chain for unwinders
  top[-2] = reinterpret_cast<void*>(function);  // popped by `ret`
  std::memset(top - 8, 0, 6 * sizeof(void*));   // rbp rbx r12-r15
  return top - 8;
}
}  // namespace
#else
namespace {
void switch_stack(void** saved, void* next) {
  ucontext_t here;
  *saved = &here;
  swapcontext(&here, static_cast<ucontext_t*>(next));
}

void* first_frame(void* stack, void (*function)()) {
  auto* context = new (stack) ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = static_cast<char*>(stack) + sizeof(ucontext_t);
  context->uc_stack.ss_size = kStackBytes - sizeof(ucontext_t);
  context->uc_link = nullptr;
  makecontext(context, function, 0);
  return context;
}
}  // namespace
#endif

Fiber::Fiber() {
  void* memory = mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  mprotect(memory, kGuardBytes, PROT_NONE);
  stack_ = static_cast<char*>(memory) + kGuardBytes;
}

Fiber::~Fiber() { munmap(static_cast<char*>(stack_) - kGuardBytes, kGuardBytes + kStackBytes); }

void Fiber::start(Entry entry, void* argument) {
#ifdef SHORI_FIBER_ASAN
  if (!finished_) __asan_unpoison_memory_region(stack_, kStackBytes);
#endif
  entry_ = entry;
  argument_ = argument;
  finished_ = false;
  saved_ = first_frame(stack_, &Fiber::run);
}

bool Fiber::resume() {
  running_fiber = this;
  void* frame = nullptr;
  before_switch(&frame, stack_, kStackBytes);
  switch_stack(&scheduler_stack, saved_);
  running_fiber = nullptr;
  after_switch(frame);
  return !finished_;
}

void Fiber::suspend() {
  Fiber* self = running_fiber;
  void* frame = nullptr;
#ifdef SHORI_FIBER_ASAN
  before_switch(&frame, scheduler_bottom, scheduler_size);
#endif
  switch_stack(&self->saved_, scheduler_stack);
  after_switch(frame);
}

void Fiber::run() {
  after_switch(nullptr);
  Fiber* self = running_fiber;
  self->entry_(self->argument_);
  self->finished_ = true;
#ifdef SHORI_FIBER_ASAN
  before_switch(nullptr, scheduler_bottom, scheduler_size);
#endif
  switch_stack(&self->saved_, scheduler_stack);
  __builtin_unreachable();
}

}  // namespace shori::emulator
