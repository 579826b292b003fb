#include "shori/io/tensor_stream.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "tests/unit/io/model_files.h"

namespace {
thread_local int threads_that_start = -1;  // from the thread that sets it; negative: all
}

// In place of the C library's, so that a start can fail as it does where a container has no threads left.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                              void* argument) {
  if (threads_that_start == 0) return EAGAIN;
  if (threads_that_start > 0) --threads_that_start;
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  return create(thread, attributes, start, argument);
}

namespace shori {
namespace {

// A file of tensors of the given sizes, and a stream over it with `count` buffers of `chunk` bytes.
class StreamFixture : public ::testing::Test {
 protected:
  void make_file(const std::vector<std::size_t>& sizes) {
    std::vector<TestTensor> tensors;
    for (const std::size_t size : sizes) {
      std::string data;
      for (std::size_t i = 0; i < size; ++i) data += static_cast<char>(i * 31 + tensors.size() * 7 + i / 256);
      contents_.push_back(data);
      tensors.push_back({"tensor" + std::to_string(tensors.size()), "U8", {static_cast<std::int64_t>(size)}, data});
    }
    folder_.write("data.safetensors", safetensors_bytes(tensors));
    file_.emplace(SafetensorsFile::open(InputFile::open(folder_.path() + "/data.safetensors")));
  }
  std::vector<StreamedTensor> tensors() const {
    std::vector<StreamedTensor> list;
    for (const TensorEntry& entry : file_->tensors()) list.push_back({&*file_, &entry});
    return list;
  }
  TensorStream::Options options(std::size_t count, std::size_t chunk, int threads) {
    memory_.assign(count, std::vector<std::byte>(chunk));
    TensorStream::Options result;
    result.chunk_bytes = chunk;
    result.threads = threads;
    for (auto& buffer : memory_) result.buffers.push_back(buffer.data());
    return result;
  }

  TemporaryFolder folder_;
  std::vector<std::string> contents_;
  std::optional<SafetensorsFile> file_;
  std::vector<std::vector<std::byte>> memory_;
};

TEST_F(StreamFixture, DeliversEveryByteInOrderAndHashesIt) {
  make_file({1, 256, 1000, 512, 3000, 7});
  for (const int threads : {1, 2, 5}) {
    for (const std::size_t buffers : {2u, 3u, 6u}) {
      TensorStream stream(tensors(), options(buffers, 256, threads));
      std::vector<std::string> got(contents_.size());
      std::vector<int> lasts(contents_.size());
      while (const auto chunk = stream.next()) {
        EXPECT_EQ(chunk->offset, got[chunk->tensor].size());
        got[chunk->tensor].append(reinterpret_cast<const char*>(chunk->data), chunk->bytes);
        lasts[chunk->tensor] += chunk->is_last ? 1 : 0;
        if (chunk->is_last) {
          EXPECT_EQ(to_hex(stream.digest(chunk->tensor)), sha256_hex(contents_[chunk->tensor]));
        }
        stream.release(*chunk);
      }
      EXPECT_EQ(got, contents_);
      EXPECT_EQ(lasts, std::vector<int>(contents_.size(), 1));
      EXPECT_FALSE(stream.next().has_value());
    }
  }
}

TEST_F(StreamFixture, ReadsIntoTheTargetsOfTensors) {
  make_file({1, 256, 1000, 3000});
  for (const bool all : {true, false}) {  // the last tensor comes in buffers if not
    std::vector<std::string> got(contents_.size());
    std::vector<StreamedTensor> list = tensors();
    for (std::size_t i = 0; i < list.size(); ++i) {
      got[i].resize(contents_[i].size());
      if (all || i + 1 < list.size()) list[i].target = reinterpret_cast<std::byte*>(got[i].data());
    }
    TensorStream stream(list, options(all ? 0 : 2, 256, 3));
    std::size_t bytes = 0;
    while (const auto chunk = stream.next()) {
      std::byte* target = list[chunk->tensor].target;
      if (target == nullptr) {
        std::memcpy(got[chunk->tensor].data() + chunk->offset, chunk->data, chunk->bytes);
      } else {
        EXPECT_EQ(chunk->data, target + chunk->offset);
      }
      if (chunk->is_last) {
        EXPECT_EQ(to_hex(stream.digest(chunk->tensor)), sha256_hex(contents_[chunk->tensor]));
      }
      bytes += chunk->bytes;
      stream.release(*chunk);
    }
    EXPECT_EQ(bytes, 4257u);
    EXPECT_EQ(got, contents_);
  }
}

TEST_F(StreamFixture, AllBuffersButOneMayBeHeld) {
  make_file({2000, 2000});
  TensorStream stream(tensors(), options(3, 256, 2));
  std::deque<TensorChunk> held;
  std::size_t bytes = 0;
  while (const auto chunk = stream.next()) {
    bytes += chunk->bytes;
    held.push_back(*chunk);
    if (held.size() < 3) continue;
    stream.release(held.front());
    held.pop_front();
  }
  EXPECT_EQ(bytes, 4000u);
}

TEST_F(StreamFixture, AFileThatBecameShorterIsAnError) {
  make_file({4000, 4000});
  TensorStream::Options slow = options(2, 256, 1);
  ASSERT_EQ(truncate((folder_.path() + "/data.safetensors").c_str(), 600), 0);
  TensorStream stream(tensors(), slow);
  EXPECT_EQ(code_of([&] {
              while (const auto chunk = stream.next()) stream.release(*chunk);
            }),
            "E0213");
}

TEST_F(StreamFixture, MayEndEarly) {
  make_file({5000, 5000, 5000});
  TensorStream stream(tensors(), options(2, 256, 2));
  EXPECT_TRUE(stream.next().has_value());
}

TEST_F(StreamFixture, AThreadThatDoesNotStartIsAnError) {
  make_file({5000, 5000, 5000});
  alarm(60);  // the first thread waits for a buffer, and would be waited for
  threads_that_start = 1;
  EXPECT_THROW(TensorStream(tensors(), options(2, 256, 2)), std::system_error);
  threads_that_start = -1;
  alarm(0);
}

TEST_F(StreamFixture, NoTensorsAreNoChunks) {
  make_file({1});
  TensorStream stream({}, options(2, 256, 2));
  EXPECT_FALSE(stream.next().has_value());
}

}  // namespace
}  // namespace shori
