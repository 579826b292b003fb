#include "shori/util/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

namespace shori {
namespace {

// Each case ends a process of its own with a code that says what it saw.
class Signals : public ::testing::Test {
 protected:
  Signals() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(Signals, FirstRequestOnlySetsTheFlag) {
  EXPECT_EXIT(
      {
        install_signal_handlers();
        const bool before = stop_requested();
        raise(SIGTERM);
        _exit(!before && stop_requested() && stop_signal() == SIGTERM ? 42 : 1);
      },
      ::testing::ExitedWithCode(42), "");
}

TEST_F(Signals, SecondRequestEndsAtOnceWithTheNote) {
  const auto twice = [](int first, int second) {
    install_signal_handlers();
    set_stop_note("old note");
    set_stop_note("step 118 is safe; shori-train c.yaml --resume");
    raise(first);
    raise(second);
    _exit(1);
  };
  EXPECT_EXIT(twice(SIGINT, SIGINT), ::testing::ExitedWithCode(130),
              "stopped at once\nstep 118 is safe; shori-train c.yaml --resume\n");
  EXPECT_EXIT(twice(SIGINT, SIGTERM), ::testing::ExitedWithCode(143), "step 118 is safe");
  EXPECT_EXIT(twice(SIGHUP, SIGINT), ::testing::ExitedWithCode(130), "step 118 is safe");
}

TEST_F(Signals, LongNotesAreCut) {
  EXPECT_EXIT(
      {
        install_signal_handlers();
        set_stop_note(std::string(5000, 'n'));
        raise(SIGTERM);
        raise(SIGTERM);
      },
      ::testing::ExitedWithCode(143), "n{1023}\n$");
}

TEST_F(Signals, LoopsLeaveByAnException) {
  EXPECT_EXIT(
      {
        install_signal_handlers();
        throw_if_stop_requested();
        raise(SIGINT);
        try {
          throw_if_stop_requested();
        } catch (const Stopped&) {
          _exit(42);
        }
        _exit(1);
      },
      ::testing::ExitedWithCode(42), "");
}

TEST_F(Signals, HangUpStaysIgnoredUnderNohup) {
  EXPECT_EXIT(
      {
        signal(SIGHUP, SIG_IGN);
        install_signal_handlers();
        raise(SIGHUP);
        _exit(stop_requested() ? 1 : 42);
      },
      ::testing::ExitedWithCode(42), "");
}

TEST_F(Signals, EveryPinRequestIsTakenOnce) {
  EXPECT_EXIT(
      {
        install_signal_handlers();
        const bool none = !take_pin_request();
        raise(SIGUSR1);
        raise(SIGUSR1);
        const bool two = take_pin_request() && take_pin_request() && !take_pin_request();
        _exit(none && two && !stop_requested() ? 42 : 1);
      },
      ::testing::ExitedWithCode(42), "");
}

TEST_F(Signals, ClosedPipesAndFileSizeLimitsDoNotEndTheProgram) {
  EXPECT_EXIT(
      {
        install_signal_handlers();
        raise(SIGPIPE);
        raise(SIGXFSZ);
        _exit(42);
      },
      ::testing::ExitedWithCode(42), "");
}

TEST_F(Signals, CrashesPrintTheNoteAndKeepTheirSignal) {
  const auto crash = [](int signal) {
    install_signal_handlers();
    set_stop_note("step 7 is safe");
    raise(signal);
    _exit(1);
  };
  EXPECT_EXIT(crash(SIGSEGV), ::testing::KilledBySignal(SIGSEGV), "SIGSEGV\\), build .*\nstep 7 is safe");
  EXPECT_EXIT(crash(SIGBUS), ::testing::KilledBySignal(SIGBUS), "SIGBUS");
  EXPECT_EXIT(crash(SIGFPE), ::testing::KilledBySignal(SIGFPE), "SIGFPE");
  EXPECT_EXIT(std::abort(), ::testing::KilledBySignal(SIGABRT), "");
  EXPECT_EXIT(crash(SIGABRT), ::testing::KilledBySignal(SIGABRT), "step 7 is safe");
}

}  // namespace
}  // namespace shori
