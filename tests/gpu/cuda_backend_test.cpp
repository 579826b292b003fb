// The parts of the CUDA backend that work without a GPU: supported cards, classes of errors, libraries that are loaded late.
#include <ATen/detail/CUDAHooksInterface.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>

#include "kernels/common/cuda_check.h"
#include "kernels/cuda/architectures.h"
#include "kernels/cuda/late_libraries.h"
#include "kernels/lora/lora_factor_launch.h"
#include "shori/util/device.h"
#include "shori/util/error.h"
#include "tests/support/machine_gpu.h"

namespace shori {
namespace {

TEST(Architectures, MachineCodeRunsWithinItsMajorVersion) {
  const char list[] = "80-real,86-real,90-real";
  for (const auto& [major, minor] : {std::pair{8, 0}, {8, 6}, {8, 7}, {8, 9}, {9, 0}}) {
    EXPECT_TRUE(has_code_for(list, major, minor)) << major << '.' << minor;
  }
  for (const auto& [major, minor] : {std::pair{7, 5}, {10, 0}, {11, 0}, {12, 0}}) {
    EXPECT_FALSE(has_code_for(list, major, minor)) << major << '.' << minor;
  }
  EXPECT_FALSE(has_code_for("86-real", 8, 0)) << "a lower minor version cannot run it";
}

TEST(Architectures, VirtualCodeRunsOnEveryLaterCard) {
  EXPECT_TRUE(has_code_for("90-virtual", 9, 0));
  EXPECT_TRUE(has_code_for("90-virtual", 10, 0));
  EXPECT_TRUE(has_code_for("90-virtual", 12, 1));
  EXPECT_FALSE(has_code_for("90-virtual", 8, 9));
  EXPECT_TRUE(has_code_for("86", 8, 6)) << "no word: both kinds";
  EXPECT_TRUE(has_code_for("86", 12, 0));
  EXPECT_FALSE(has_code_for("", 8, 6));
}

// Each class of CUDA failure has its error code, and with it its exit code.
TEST(CudaErrors, AreClassified) {
  struct Class {
    std::vector<int> cuda;  // cudaError
    const char *code, *why;
  };
  const Class classes[] = {
      {.cuda = {2}, .code = "E0704", .why = "no memory"},
      {.cuda = {35, 803, 804}, .code = "E0403", .why = "the driver is too old, or is not that of the kernel"},
      {.cuda = {3, 46, 100, 304}, .code = "E0404", .why = "no GPU can be used"},
      {.cuda = {209, 218}, .code = "E0402", .why = "no code for this GPU"},
      {.cuda = {214, 226, 714}, .code = "E0702", .why = "the memory or the hardware is faulty"},
      {.cuda = {1, 700, 702, 710, 715, 716, 719, 721}, .code = "E0703", .why = "a kernel or a call failed"},
      {.cuda = {709, 999}, .code = "E0701", .why = "the GPU is lost"},
  };
  for (const auto& [numbers, code, why] : classes) {
    for (const int number : numbers) EXPECT_EQ(cuda_error_code(number, true), code) << why << ": " << number;
  }
}

TEST(CudaErrors, AGpuThatTheDriverNoLongerListsIsLost) {
  for (const int code : {2, 214, 700, 719}) EXPECT_EQ(cuda_error_code(code, false), "E0701") << code;
  EXPECT_EQ(cuda_error_code(100, false), "E0404") << "no device at all is the machine's set-up";
}

TEST(CudaErrors, NameTheCallAndItsLocation) {
  try {
    SHORI_CUDA_CHECK(cudaErrorIllegalAddress);
    FAIL() << "no error";
  } catch (const Error& error) {
    const Diagnostic& diagnostic = error.diagnostics().front();
    EXPECT_EQ(diagnostic.code, "E0703");
    EXPECT_NE(diagnostic.message.find("CUDA error 700 (cudaErrorIllegalAddress)"), std::string::npos)
        << diagnostic.message;
    ASSERT_FALSE(diagnostic.notes.empty());
    EXPECT_NE(diagnostic.notes.front().find("cuda_backend_test.cpp:"), std::string::npos) << diagnostic.notes.front();
    EXPECT_EQ(error.exit_code(), 5);
  }
}

// What the runtime answers, while a test sets it; the kernels of this program bind to these functions.
std::optional<cudaError_t> last_error, end_of_stream;

// A launch as every kernel file makes it.
std::optional<Diagnostic> diagnostic_of_launch() {
  try {
    launch_round_lora_factor(nullptr, 1.0f, nullptr, 1000, nullptr);
  } catch (const Error& error) {
    return error.diagnostics().front();
  }
  return std::nullopt;
}

TEST(CudaErrors, ALaunchIsNamedWithItsShape) {
  last_error = cudaErrorInvalidConfiguration;
  const Diagnostic refused = diagnostic_of_launch().value();
  last_error = cudaErrorIllegalAddress;
  const Diagnostic earlier = diagnostic_of_launch().value();
  last_error.reset();
  EXPECT_EQ(refused.code, "E0703");
  EXPECT_EQ(
      refused.notes.front(),
      "round_lora_factor_kernel, grid 4 x 1 x 1, block 256 x 1 x 1, 0 bytes of dynamic shared memory, lora_factor.cu:20");
  EXPECT_EQ(refused.notes.size(), 1u) << "a refused launch is this one's own fault";
  ASSERT_EQ(earlier.notes.size(), 2u);
  EXPECT_NE(earlier.helps.front().find("SHORI_SYNC=1"), std::string::npos) << earlier.helps.front();
}

// Without SHORI_SYNC a launch that was queued is not waited for, and a fault of its kernel shows at a later call.
TEST(CudaErrors, ShoriSyncNamesTheKernelThatFailsWhileItRuns) {
  last_error = cudaSuccess;
  end_of_stream = cudaErrorIllegalAddress;
  EXPECT_FALSE(diagnostic_of_launch());
  setenv("SHORI_SYNC", "1", 1);
  const Diagnostic found = diagnostic_of_launch().value();
  EXPECT_THROW(finish_call(nullptr, "cublasLtMatmul"), Error) << "a call of a library as well";
  setenv("SHORI_SYNC", "0", 1);
  EXPECT_FALSE(diagnostic_of_launch());
  unsetenv("SHORI_SYNC");
  last_error.reset();
  end_of_stream.reset();
  EXPECT_NE(found.message.find("cudaErrorIllegalAddress"), std::string::npos) << found.message;
  EXPECT_EQ(found.notes.size(), 1u);
  EXPECT_TRUE(found.notes.front().starts_with("round_lora_factor_kernel, grid 4 x 1 x 1")) << found.notes.front();
}

TEST(CudaErrors, ShoriSyncNamesTheCopyThatFails) {
  struct Case {
    const char* name;
    void (*call)();
  };
  const Case cases[] = {
      {.name = "copy_to_device", .call = [] { copy_to_device(nullptr, nullptr, 8, nullptr); }},
      {.name = "copy_to_host", .call = [] { copy_to_host(nullptr, nullptr, 8, nullptr); }},
      {.name = "copy_on_device", .call = [] { copy_on_device(nullptr, nullptr, 8, nullptr); }},
      {.name = "copy_rows_on_device", .call = [] { copy_rows_on_device(nullptr, 8, nullptr, 8, 8, 1, nullptr); }},
      {.name = "fill_zero_on_device", .call = [] { fill_zero_on_device(nullptr, 8, nullptr); }},
  };
  end_of_stream = cudaErrorIllegalAddress;
  for (const Case& each : cases) {
    EXPECT_NO_THROW(each.call()) << each.name;
    setenv("SHORI_SYNC", "1", 1);
    try {
      each.call();
      ADD_FAILURE() << each.name << " was not waited for";
    } catch (const Error& error) {
      EXPECT_EQ(error.diagnostics().front().notes.front(), each.name);
    }
    unsetenv("SHORI_SYNC");
  }
  end_of_stream.reset();
}

// The errors of a driver that does not start, and of devices that this user may not open.
TEST(CudaErrors, OfTheSetUpSayWhatToDo) {
  for (const auto& [code, hint] : {std::pair{3, "nvidia-smi"}, {304, "/dev/nvidia*"}}) {
    try {
      throw_cuda_error(code, "cudaGetDeviceCount", __FILE__, __LINE__);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "E0404");
      ASSERT_FALSE(error.diagnostics().front().helps.empty()) << code;
      EXPECT_NE(error.diagnostics().front().helps.front().find(hint), std::string::npos) << code;
    }
  }
}

TEST(CudaErrors, EveryCodeIsInTheCatalogue) {
  for (const int code : {2, 35, 46, 209, 214, 700, 702, 709, 999}) {
    EXPECT_NE(find_error_info(cuda_error_code(code, true)), nullptr) << code;
  }
}

TEST(LateLibraries, VersionIsReadFromTheConfigurationOfLibtorch) {
  EXPECT_EQ(libtorch_version("Build settings: BLAS_INFO=mkl, TORCH_VERSION=2.11.0, USE_CUDA=ON, \n"), "2.11.0");
  EXPECT_EQ(libtorch_version("TORCH_VERSION=2.12.1"), "2.12.1");
  EXPECT_EQ(libtorch_version("PyTorch built with:\n"), "");
}

// A user's settings are kept, and get what the memory plan relies on.
TEST(LateLibraries, AllocatorGrowsItsSegments) {
  EXPECT_EQ(with_expandable_segments(""), "expandable_segments:True");
  EXPECT_EQ(with_expandable_segments("max_split_size_mb:512"), "max_split_size_mb:512,expandable_segments:True");
  EXPECT_EQ(with_expandable_segments("max_split_size_mb:512, "), "max_split_size_mb:512, expandable_segments:True");
  EXPECT_EQ(with_expandable_segments("expandable_segments:False"), "expandable_segments:False") << "a choice is kept";
}

TEST(LateLibraries, CopiesOfOneLibraryAreFound) {
  const std::string maps =
      "7f00-7f10 r-xp 00000000 fe:00 1 /env/nvidia/cu13/lib/libcublasLt.so.13\n"
      "7f10-7f20 r--p 00010000 fe:00 1 /env/nvidia/cu13/lib/libcublasLt.so.13\n"
      "7f20-7f30 r-xp 00000000 fe:00 2 /usr/local/cuda/lib64/libcublas.so.13.0.2\n"
      "7f30-7f40 rw-p 00000000 00:00 0 [heap]\n";
  EXPECT_TRUE(libraries_mapped_twice(maps).empty()) << "several segments of one file are one copy";
  const auto twice =
      libraries_mapped_twice(maps + "7f50-7f60 r-xp 00000000 fe:00 3 /usr/local/cuda/lib64/libcublasLt.so.13.0.2\n");
  ASSERT_EQ(twice.size(), 1u);
  EXPECT_EQ(twice.front(),
            "libcublasLt.so: /env/nvidia/cu13/lib/libcublasLt.so.13, /usr/local/cuda/lib64/libcublasLt.so.13.0.2");
}

// In a set-up without the NVIDIA packages, which only a GPU needs, the error names what is missing.
TEST(LateLibraries, AreLoadedOnceAndHaveWhatIsCalled) {
  EXPECT_EQ(dlsym(RTLD_DEFAULT, "cublasLtMatmul"), nullptr) << "loaded before it was asked for";
  try {
    load_cuda_libraries();
  } catch (const Error& error) {
    ASSERT_EQ(error.code(), "E0407");
    EXPECT_NE(error.diagnostics().front().message.find("cannot open shared object file"), std::string::npos)
        << error.diagnostics().front().message;
    return;
  }
  EXPECT_NE(late_function("cublasLtMatmul"), nullptr);
  EXPECT_NE(dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_NOLOAD), nullptr);
  EXPECT_STREQ(std::getenv("PYTORCH_CUDA_ALLOC_CONF"), "expandable_segments:True");
  EXPECT_TRUE(at::detail::getCUDAHooks().hasCUDART())
      << "libtorch was asked about CUDA before its CUDA part was loaded";
  try {
    late_function("cublasLtHasNoSuchFunction");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0407");
  }
}

TEST(OpenDevice, SaysWhatIsMissing) {
  EXPECT_EQ(device_backend(), "cuda");
  if (testing::machine_has_gpu()) {
    EXPECT_GT(open_device().sm_count, 0);
    return;
  }
  try {
    open_device();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "E0404") << error.what();
    EXPECT_EQ(error.exit_code(), 5);
  }
}

}  // namespace
}  // namespace shori

extern "C" cudaError_t cudaGetLastError() {
  static const auto real = reinterpret_cast<decltype(&cudaGetLastError)>(dlsym(RTLD_NEXT, "cudaGetLastError"));
  const cudaError_t found = real();
  return shori::last_error.value_or(found);
}
extern "C" cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  static const auto real =
      reinterpret_cast<decltype(&cudaStreamSynchronize)>(dlsym(RTLD_NEXT, "cudaStreamSynchronize"));
  return shori::end_of_stream ? *shori::end_of_stream : real(stream);
}
// Copies are queued, and nothing more, while a test sets how the stream ends.
extern "C" cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                                       cudaStream_t stream) {
  static const auto real = reinterpret_cast<decltype(&cudaMemcpyAsync)>(dlsym(RTLD_NEXT, "cudaMemcpyAsync"));
  return shori::end_of_stream ? cudaSuccess : real(to, from, bytes, kind, stream);
}
extern "C" cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                                         size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  static const auto real = reinterpret_cast<decltype(&cudaMemcpy2DAsync)>(dlsym(RTLD_NEXT, "cudaMemcpy2DAsync"));
  return shori::end_of_stream ? cudaSuccess : real(to, to_pitch, from, from_pitch, width, height, kind, stream);
}
extern "C" cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  static const auto real = reinterpret_cast<decltype(&cudaMemsetAsync)>(dlsym(RTLD_NEXT, "cudaMemsetAsync"));
  return shori::end_of_stream ? cudaSuccess : real(memory, value, bytes, stream);
}
