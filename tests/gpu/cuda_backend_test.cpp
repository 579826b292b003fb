// The parts of the CUDA backend that work without a GPU: supported cards, classes of errors, libraries that are loaded late.
#include <ATen/detail/CUDAHooksInterface.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "kernels/common/cuda_check.h"
#include "kernels/cuda/architectures.h"
#include "kernels/cuda/late_libraries.h"
#include "shori/util/device.h"
#include "shori/util/error.h"

namespace shori {
namespace {

bool has_gpu() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

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
  for (const auto& [code, wanted] : std::vector<std::pair<int, std::string>>{
           {2, "E0704"},   {35, "E0403"},  {803, "E0403"}, {804, "E0403"}, {46, "E0404"},  {100, "E0404"},
           {3, "E0404"},   {304, "E0404"}, {209, "E0402"}, {218, "E0402"}, {214, "E0702"}, {226, "E0702"},
           {714, "E0702"}, {700, "E0703"}, {710, "E0703"}, {715, "E0703"}, {716, "E0703"}, {719, "E0703"},
           {721, "E0703"}, {702, "E0703"}, {709, "E0701"}, {999, "E0701"}, {1, "E0703"}}) {
    EXPECT_EQ(cuda_error_code(code, true), wanted) << code;
  }
}

TEST(CudaErrors, AGpuThatTheDriverNoLongerListsIsLost) {
  for (const int code : {2, 214, 700, 719}) EXPECT_EQ(cuda_error_code(code, false), "E0701") << code;
  EXPECT_EQ(cuda_error_code(100, false), "E0404") << "no device at all is the machine's set-up";
}

TEST(CudaErrors, NameTheCallAndItsPlace) {
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
  if (has_gpu()) {
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
