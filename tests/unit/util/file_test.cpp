#include "shori/util/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "shori/util/error.h"
#include "src/util/open_inside.h"
#include "tests/support/error_code.h"
#include "tests/support/temporary_folder.h"

namespace shori {
namespace {

namespace fs = std::filesystem;

std::string open_code(const std::string& folder, const std::string& name) {
  return code_of([&] { InputFile::open_in(folder, name); });
}

std::string read_in(const std::string& folder, const std::string& name) {
  return read_whole_file(InputFile::open_in(folder, name), 1 << 20, "E0207");
}

TEST(InputFile, ReadsWholeAndInParts) {
  const TemporaryFolder folder;
  const InputFile file = InputFile::open(folder.write("a", "0123456789"));
  EXPECT_EQ(file.size(), 10u);
  EXPECT_EQ(read_whole_file(file, 10, "E0207"), "0123456789");
  char part[4];
  file.read_at(3, part, 4);
  EXPECT_EQ(std::string(part, 4), "3456");
  EXPECT_EQ(code_of([&] { read_whole_file(file, 9, "E0214"); }), "E0214");
  EXPECT_EQ(code_of([&] { file.read_at(8, part, 4); }), "E0213");
}

TEST(InputFile, AbsentFilesHaveTheCodeOfTheCaller) {
  const TemporaryFolder folder;
  EXPECT_EQ(code_of([&] { InputFile::open(folder.file("none")); }), "E0203");
  EXPECT_EQ(code_of([&] { InputFile::open(folder.file("none"), "E0108"); }), "E0108");
  EXPECT_EQ(code_of([&] { InputFile::open_in(folder.path(), "none", "E0315"); }), "E0315");
  EXPECT_EQ(code_of([&] { InputFile::open_in(folder.file("no folder"), "x"); }), "E0203");
}

TEST(InputFile, OnlyRegularFilesAreOpened) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo(folder.file("fifo").c_str(), 0600), 0);
  fs::create_directory(folder.file("sub"));
  EXPECT_EQ(open_code(folder.path(), "fifo"), "E0212");  // and does not wait for a writer
  EXPECT_EQ(open_code(folder.path(), "sub"), "E0212");
  EXPECT_EQ(code_of([] { InputFile::open("/dev/null"); }), "E0212");
  EXPECT_EQ(code_of([&] { InputFile::open(folder.file("fifo")); }), "E0212");
}

TEST(InputFile, NoticesChanges) {
  const TemporaryFolder folder;
  const InputFile file = InputFile::open(folder.write("a", "0123456789"));
  EXPECT_NO_THROW(file.check_unchanged());
  ASSERT_EQ(truncate(folder.file("a").c_str(), 4), 0);
  char bytes[10];
  EXPECT_EQ(code_of([&] { file.read_at(0, bytes, 10); }), "E0213");
  EXPECT_EQ(code_of([&] { file.check_unchanged(); }), "E0213");
  const InputFile touched = InputFile::open(folder.write("b", "x"));
  const timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, folder.file("b").c_str(), times, 0), 0);
  EXPECT_EQ(code_of([&] { touched.check_unchanged(); }), "E0213");
}

TEST(OpenIn, NeverLeavesTheFolder) {
  const TemporaryFolder folder;
  folder.write("secret", "outside");
  folder.write("model/a.safetensors", "inside");
  folder.write("model/sub/b", "deep");
  const std::string model = folder.file("model");
  fs::create_symlink("../secret", model + "/up");
  fs::create_symlink(folder.file("secret"), model + "/absolute");
  fs::create_symlink("/proc/self/root/etc/passwd", model + "/magic");
  fs::create_symlink("a.safetensors", model + "/same");
  fs::create_symlink("..", model + "/parent");
  fs::create_symlink("gone", model + "/dangling");
  EXPECT_EQ(read_in(model, "a.safetensors"), "inside");
  EXPECT_EQ(read_in(model, "sub/b"), "deep");
  EXPECT_EQ(read_in(model, "same"), "inside");
  EXPECT_EQ(open_code(model, "../secret"), "E0215");
  EXPECT_EQ(open_code(model, "/etc/passwd"), "E0215");
  EXPECT_EQ(open_code(model, "sub/../../secret"), "E0215");
  EXPECT_EQ(open_code(model, "up"), "E0215");
  EXPECT_EQ(open_code(model, "absolute"), "E0215");
  EXPECT_EQ(open_code(model, "magic"), "E0215");
  EXPECT_EQ(open_code(model, "parent/secret"), "E0215");
  EXPECT_EQ(open_code(model, "dangling"), "E0203");
}

TEST(OpenIn, FollowsTheLinksOfAHuggingFaceCache) {
  const TemporaryFolder folder;
  const std::string hash(64, 'a'), short_hash(40, '0');
  const std::string root = folder.file("models--org--name");
  folder.write("models--org--name/blobs/" + hash, "weights");
  folder.write("models--org--name/blobs/" + short_hash, "config");
  folder.write("models--org--name/blobs/readme", "x");
  folder.write("secret", "outside");
  const std::string snapshot = root + "/snapshots/0123abcd";
  fs::create_directories(snapshot);
  const auto link = [&](const std::string& target, const std::string& name) {
    fs::create_symlink(target, snapshot + "/" + name);
  };
  link("../../blobs/" + hash, "model.safetensors");
  link("../../blobs/" + short_hash, "config.json");
  link("../../blobs/readme", "named");
  link("../../blobs/" + std::string(40, 'f'), "gone");
  link("../../../secret", "out");
  link("../../blobs/../../secret", "trick");
  EXPECT_EQ(read_in(snapshot, "model.safetensors"), "weights");
  EXPECT_EQ(read_in(snapshot, "config.json"), "config");
  EXPECT_EQ(open_code(snapshot, "named"), "E0215");
  EXPECT_EQ(open_code(snapshot, "gone"), "E0203");
  EXPECT_EQ(open_code(snapshot, "out"), "E0215");
  EXPECT_EQ(open_code(snapshot, "trick"), "E0215");
  // A blob that is itself a link out of the cache is not followed.
  fs::create_symlink(folder.file("secret"), root + "/blobs/" + std::string(64, 'b'));
  link("../../blobs/" + std::string(64, 'b'), "evil");
  EXPECT_EQ(open_code(snapshot, "evil"), "E0215");
  // The folder may be named by a link of the user's own.
  fs::create_directory_symlink(snapshot, folder.file("mine"));
  EXPECT_EQ(read_in(folder.file("mine"), "config.json"), "config");
  // Outside of a cache the same link is refused.
  fs::create_directories(folder.file("plain/snapshots/rev"));
  folder.write("plain/blobs/" + hash, "weights");
  fs::create_symlink("../../blobs/" + hash, folder.file("plain/snapshots/rev/model"));
  EXPECT_EQ(open_code(folder.file("plain/snapshots/rev"), "model"), "E0215");
}

TEST(OpenBeneathBySteps, FollowsNoLinkAndNoParent) {
  const TemporaryFolder folder;
  folder.write("secret", "outside");
  folder.write("model/a", "inside");
  folder.write("model/sub/b", "deep");
  fs::create_symlink("../secret", folder.file("model/up"));
  fs::create_symlink("a", folder.file("model/same"));
  fs::create_directory_symlink("sub", folder.file("model/way"));
  const FileDescriptor model = open_directory(folder.file("model"));
  const auto error_of = [&model](const char* name) {
    const FileDescriptor fd(open_inside_by_steps(model.get(), name));
    return fd.valid() ? 0 : errno;
  };
  EXPECT_EQ(error_of("a"), 0);
  EXPECT_EQ(error_of("sub/b"), 0);
  EXPECT_EQ(error_of("./sub//b"), 0);
  EXPECT_EQ(error_of("../secret"), EXDEV);
  EXPECT_EQ(error_of("sub/../../secret"), EXDEV);
  EXPECT_EQ(error_of("/etc/passwd"), EXDEV);
  EXPECT_EQ(error_of("up"), ELOOP);
  EXPECT_EQ(error_of("same"), ELOOP);
  EXPECT_NE(error_of("way/b"), 0);
  EXPECT_EQ(error_of("none"), ENOENT);
  EXPECT_EQ(error_of(""), ENOENT);
}

TEST(Sha256OfFile, IsThatOfItsBytes) {
  const TemporaryFolder folder;
  EXPECT_EQ(sha256_of_file(InputFile::open(folder.write("a", "abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of_file(InputFile::open(folder.write("m", std::string(3000000, 'a')))),
            "2a152c894398719c0570f83fac34ac03a0f6e8e474b995c2403aa5434f7b9dd4");
  EXPECT_EQ(sha256_of_file(InputFile::open(folder.write("e", ""))),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(MakeDirectories, MakesParentsAndFollowsLinksOnTheWayOnly) {
  const TemporaryFolder folder;
  make_directories(folder.file("a/b/c"));
  EXPECT_TRUE(is_directory(folder.file("a/b/c")));
  EXPECT_NO_THROW(make_directories(folder.file("a/b/c/")));
  fs::create_directory_symlink(folder.file("a"), folder.file("link"));
  EXPECT_NO_THROW(make_directories(folder.file("link/d/e")));
  EXPECT_TRUE(is_directory(folder.file("a/d/e")));
  EXPECT_EQ(code_of([&] { make_directories(folder.file("link")); }), "E0513");
  folder.write("file", "");
  EXPECT_EQ(code_of([&] { make_directories(folder.file("file/x")); }), "E0513");
}

TEST(Listing, IsSortedByBytes) {
  const TemporaryFolder folder;
  for (const char* name : {"b", "a", "B", ".hidden", "ä"}) folder.write(name, "");
  EXPECT_EQ(list_directory(folder.path()), (std::vector<std::string>{".hidden", "B", "a", "b", "ä"}));
  EXPECT_EQ(code_of([&] { list_directory(folder.file("none")); }), "E0513");
}

TEST(PathTests, DistinguishLinksFromTheirTargets) {
  const TemporaryFolder folder;
  fs::create_symlink("nowhere", folder.file("l"));
  fs::create_directory_symlink(".", folder.file("d"));
  EXPECT_TRUE(path_exists(folder.file("l")));
  EXPECT_TRUE(is_symlink(folder.file("l")));
  EXPECT_FALSE(is_directory(folder.file("l")));
  EXPECT_TRUE(is_directory(folder.file("d")));
  EXPECT_FALSE(is_symlink(folder.path()));
  EXPECT_FALSE(path_exists(folder.file("x")));
}

TEST(PathTexts, AreTakenApartAndJoined) {
  EXPECT_EQ(parent_path("/a/b"), "/a");
  EXPECT_EQ(parent_path("/a/b/"), "/a");
  EXPECT_EQ(parent_path("/a"), "/");
  EXPECT_EQ(parent_path("/"), "/");
  EXPECT_EQ(parent_path("a"), ".");
  EXPECT_EQ(parent_path("a//b"), "a");
  EXPECT_EQ(parent_path(""), ".");
  EXPECT_EQ(file_name("/a/b"), "b");
  EXPECT_EQ(file_name("/a/b/"), "b");
  EXPECT_EQ(file_name("b"), "b");
  EXPECT_EQ(file_name("/"), "");
  EXPECT_EQ(join_path("a", "b"), "a/b");
  EXPECT_EQ(join_path("a/", "b"), "a/b");
  EXPECT_EQ(join_path("a", "/b"), "/b");
  EXPECT_EQ(join_path("", "b"), "b");
  EXPECT_EQ(absolute_path("/a/./b//../c/"), "/a/c");
  EXPECT_EQ(absolute_path("/.."), "/");
  EXPECT_EQ(absolute_path("x"), fs::current_path().string() + "/x");
}

TEST(PathTexts, AreQuotedWithoutControlCharacters) {
  EXPECT_EQ(quoted_path("a b/é"), "`a b/é`");
  EXPECT_EQ(quoted_path("a\x1b[2J"), "`a\\x1b[2J`");
}

TEST(WriteFileAtomically, ReplacesTheWholeFileAndLeavesNothingElse) {
  const TemporaryFolder folder;
  write_file_atomically(folder.path(), "a.json", "one");
  write_file_atomically(folder.path(), "a.json", "two");
  EXPECT_EQ(folder.read("a.json"), "two");
  EXPECT_EQ(list_directory(folder.path()), std::vector<std::string>{"a.json"});
  // A link under the name is replaced, its target untouched.
  folder.write("target", "kept");
  fs::create_symlink("target", folder.file("l"));
  write_file_atomically(folder.path(), "l", "new");
  EXPECT_FALSE(is_symlink(folder.file("l")));
  EXPECT_EQ(folder.read("target"), "kept");
  EXPECT_EQ(code_of([&] { write_file_atomically(folder.file("none"), "a", "x"); }), "E0513");
  fs::create_directory(folder.file("d"));
  folder.write("d/x", "");
  EXPECT_EQ(code_of([&] { write_file_atomically(folder.path(), "d", "x"); }), "E0512");
  EXPECT_EQ(list_directory(folder.path()), (std::vector<std::string>{"a.json", "d", "l", "target"}));
}

TEST(LowLevelSteps, GiveErrno) {
  const TemporaryFolder folder;
  EXPECT_EQ(write_all(-1, "x", 1).error, EBADF);
  const FileDescriptor full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  EXPECT_EQ(write_all(full.get(), "x", 1).error, ENOSPC);
  EXPECT_EQ(sync_file(-1).error, EBADF);
  folder.write("a", "A");
  folder.write("b", "B");
  const FileDescriptor directory = open_directory(folder.path());
  EXPECT_EQ(rename_no_replace(directory.get(), "a", "b").error, EEXIST);
  EXPECT_EQ(folder.read("b"), "B");
  EXPECT_TRUE(rename_no_replace(directory.get(), "a", "c"));
  EXPECT_EQ(folder.read("c"), "A");
  EXPECT_EQ(rename_no_replace(directory.get(), "a", "d").error, ENOENT);
  EXPECT_EQ(error_text(ENOSPC), "ENOSPC (no space left on device)");
  EXPECT_EQ(error_text(99999), "error 99999");
}

TEST(WriteAll, GoesOnAfterShortWrites) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const FileDescriptor reader(ends[0]);
  FileDescriptor writer(ends[1]);
  const std::string text(1 << 20, 'z');  // far more than a pipe holds
  const pid_t child = fork();
  if (child == 0) _exit(write_all(writer.get(), text.data(), text.size()).error);
  writer.close();
  std::size_t total = 0;
  char buffer[70000];
  for (ssize_t count; (count = ::read(reader.get(), buffer, sizeof buffer)) > 0;)
    total += static_cast<std::size_t>(count);
  EXPECT_EQ(total, text.size());
}

TEST(FileDescriptor, OwnsWhatItHolds) {
  FileDescriptor a(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int number = a.get();
  FileDescriptor b(std::move(a));
  EXPECT_FALSE(a.valid());
  EXPECT_EQ(b.get(), number);
  EXPECT_EQ(b.close(), 0);
  EXPECT_EQ(fcntl(number, F_GETFD), -1);
  EXPECT_EQ(b.close(), 0);
}

}  // namespace
}  // namespace shori
