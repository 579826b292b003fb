#include "shori/util/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "shori/util/file.h"
#include "shori/util/progress.h"
#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

// What `call` writes to stderr, which is a pseudo-terminal of `columns` columns meanwhile.
template <typename Call>
std::string on_terminal(int columns, Call call) {
  const FileDescriptor controller(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  EXPECT_TRUE(controller.valid() && grantpt(controller.get()) == 0 && unlockpt(controller.get()) == 0);
  FileDescriptor terminal(open(ptsname(controller.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  winsize size{};
  size.ws_col = static_cast<unsigned short>(columns);
  size.ws_row = 24;
  ioctl(terminal.get(), TIOCSWINSZ, &size);
  const FileDescriptor saved(dup(STDERR_FILENO));
  setenv("COLORTERM", "truecolor", 1);  // spdlog looks once, at the first line that goes to a terminal
  dup2(terminal.get(), STDERR_FILENO);
  call();
  dup2(saved.get(), STDERR_FILENO);
  // This byte marks the end of what was written.
  EXPECT_TRUE(write_all(terminal.get(), "\x04$", 1));
  std::string text;
  char buffer[4096];
  while (text.find('\x04') == std::string::npos) {
    const ssize_t count = read(controller.get(), buffer, sizeof buffer);
    if (count <= 0) break;
    text.append(buffer, static_cast<std::size_t>(count));
  }
  return text.substr(0, text.find('\x04'));
}

TEST(Log, CopiesWhatIsShownIntoTheFile) {
  const TemporaryFolder folder;
  folder.write("train.log", "earlier\n");
  testing::internal::CaptureStderr();
  log_info("before");
  set_log_file(folder.file("train.log"));
  log_info("a line with {} and %s");
  log_warning(Diagnostic("W0201", "sizes differ"));
  set_log_file("");
  log_info("after");
  const std::string shown = testing::internal::GetCapturedStderr();
  const std::string warning = format_diagnostic(Diagnostic("W0201", "sizes differ"));
  EXPECT_EQ(shown, "before\na line with {} and %s\n" + warning + "after\n");
  const std::string file = folder.read("train.log");
  EXPECT_TRUE(file.starts_with("earlier\n")) << file;
  EXPECT_TRUE(file.ends_with("before\na line with {} and %s\n" + warning))
      << file << "the start of the program included";
}

TEST(Log, DiagnosticsAsJsonAreOneObjectALine) {
  testing::internal::CaptureStderr();
  set_json_errors(true);
  const Diagnostic diagnostic = Diagnostic("E0207", "a\nb").at("f", 1, 2).help("h");
  log_error(diagnostic);
  set_json_errors(false);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), diagnostic_to_json(diagnostic) + "\n");
}

TEST(Log, AFileThatCannotBeOpenedIsAnError) {
  const TemporaryFolder folder;
  folder.write("file", "");
  try {
    set_log_file(folder.file("file/train.log"));
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0513");
  }
}

TEST(Log, ATerminalShowsTheHeadOfADiagnosticInColor) {
  unsetenv("NO_COLOR");
  const std::string text = on_terminal(80, [] {
    log_info("plain: not a diagnostic");
    log_warning(Diagnostic("W0201", "sizes differ"));
    log_error(Diagnostic("E0207", "a hole"));
  });
  EXPECT_EQ(text,
            "plain: not a diagnostic\r\n"
            "\x1b[33m\x1b[1mwarning[W0201]\x1b[m: sizes differ\r\n"
            "   = explain: shori-train --explain W0201\r\n"
            "\x1b[31m\x1b[1merror[E0207]\x1b[m: a hole\r\n"
            "   = explain: shori-train --explain E0207\r\n");
}

TEST(Log, NoColorAndJsonSwitchColorsOff) {
  const Diagnostic diagnostic("E0207", "a hole");
  setenv("NO_COLOR", "1", 1);
  const std::string plain = on_terminal(80, [&] { log_error(diagnostic); });
  unsetenv("NO_COLOR");
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
  set_json_errors(true);
  const std::string json = on_terminal(80, [&] { log_error(diagnostic); });
  set_json_errors(false);
  EXPECT_EQ(json, diagnostic_to_json(diagnostic) + "\r\n");
}

TEST(Log, AFullDiskIsReportedOnceAndDoesNotStopTheLog) {
  testing::internal::CaptureStderr();
  set_log_file("/dev/full");
  for (int i = 0; i < 3; ++i) log_info("line");
  set_log_file("");
  const std::string shown = testing::internal::GetCapturedStderr();
  std::size_t lines = 0, complaints = 0;
  for (std::size_t at = 0; (at = shown.find("line\n", at)) != std::string::npos; ++at) ++lines;
  for (std::size_t at = 0; (at = shown.find("train.log cannot be written", at)) != std::string::npos; ++at)
    ++complaints;
  EXPECT_EQ(lines, 3u) << shown;
  EXPECT_EQ(complaints, 1u) << shown;
}

TEST(Progress, WithoutATerminalWritesPlainLines) {
  testing::internal::CaptureStderr();
  {
    Progress progress;
    progress.update("step 1");
    progress.update("step 2");
    progress.finish("done");
    Progress slow(3600);
    slow.update("first");
    slow.update("too soon");
    slow.finish("end");
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "step 1\nstep 2\ndone\nfirst\nend\n");
}

TEST(Progress, LogLinesStandAboveTheLiveLine) {
  const std::string text = on_terminal(80, [] {
    Progress progress;
    progress.update("step 1");
    log_info("saved");
    progress.finish("done");
  });
  EXPECT_EQ(text,
            "\r\x1b[Kstep 1"
            "\r\x1b[Ksaved\r\nstep 1"
            "\r\x1b[K"
            "done\r\n");
}

TEST(Progress, LiveLinesAreCutToTheTerminalAndNotTooFrequent) {
  const std::string text = on_terminal(20, [] {
    Progress progress;
    for (int i = 0; i < 100; ++i) progress.update("a line of more than twenty columns");
  });
  EXPECT_NE(text.find("a line of more t..."), std::string::npos) << text;
  EXPECT_EQ(text.find("than"), std::string::npos);
  std::size_t updates = 0;
  for (std::size_t at = 0; (at = text.find("a line", at)) != std::string::npos; ++at) ++updates;
  EXPECT_LT(updates, 100u);
}

TEST(FormatDuration, ChoosesTheUnit) {
  EXPECT_EQ(format_duration(0.04), "0.0 s");
  EXPECT_EQ(format_duration(3.21), "3.2 s");
  EXPECT_EQ(format_duration(41.2), "41 s");
  EXPECT_EQ(format_duration(59.6), "1 min 00 s");
  EXPECT_EQ(format_duration(192), "3 min 12 s");
  EXPECT_EQ(format_duration(7500), "2 h 05 min");
  EXPECT_EQ(format_duration(-1), "unknown");
}

TEST(NowSeconds, NeverGoesBack) {
  const double first = now_seconds();
  EXPECT_LE(first, now_seconds());
}

}  // namespace
}  // namespace shori
