#include "kernels/cuda/late_libraries.h"

#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {

namespace {

// Libraries of which only one copy may be mapped, whatever its version; libc10 to libtorch_cuda are libtorch's own. libcuda
// is not among them: it comes with the driver, and the driver of WSL has two files of that name.
constexpr std::string_view kSingleLibraries[] = {"libc10.so",        "libc10_cuda.so", "libtorch_cpu.so",
                                                 "libtorch_cuda.so", "libcudart.so",   "libcublas.so",
                                                 "libcublasLt.so",   "libcudnn.so",    "libnvrtc.so"};

const char kHelp[] = "run scripts/setup.sh --cuda, or install torch " SHORI_TORCH_VERSION
                     " with all its NVIDIA packages and put its library folders into LD_LIBRARY_PATH";

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string process_maps() {
  std::ifstream file("/proc/self/maps");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

std::string libtorch_version(std::string_view config) {
  constexpr std::string_view kName = "TORCH_VERSION=";
  const std::size_t at = config.find(kName);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = config.substr(at + kName.size());
  return std::string(rest.substr(0, rest.find_first_of(", \n")));
}

std::vector<std::string> libraries_mapped_twice(std::string_view maps) {
  std::map<std::string_view, std::set<std::string>> paths;
  while (!maps.empty()) {
    const std::size_t end = std::min(maps.find('\n'), maps.size());
    const std::string_view line = maps.substr(0, end);
    maps.remove_prefix(std::min(end + 1, maps.size()));
    const std::size_t path_at = line.find('/');
    if (path_at == std::string_view::npos) continue;
    const std::string_view path = line.substr(path_at);
    for (const std::string_view library : kSingleLibraries) {
      if (file_name(path).starts_with(library)) paths[library].emplace(path);
    }
  }
  std::vector<std::string> twice;
  for (const auto& [library, files] : paths) {
    if (files.size() < 2) continue;
    std::string text = std::string(library) + ": ";
    for (const std::string& file : files) text += (file == *files.begin() ? "" : ", ") + file;
    twice.push_back(text);
  }
  return twice;
}

std::string with_expandable_segments(std::string_view settings) {
  constexpr std::string_view kName = "expandable_segments";
  if (settings.find(kName) != std::string_view::npos) return std::string(settings);
  return concat(settings, trim(settings).empty() || trim(settings).ends_with(',') ? "" : ",", kName, ":True");
}

void load_cuda_libraries() {
  // Libtorch's allocator reads the variable when it is first used, PYTORCH_ALLOC_CONF before the older name.
  const char* const name =
      std::getenv("PYTORCH_ALLOC_CONF") != nullptr ? "PYTORCH_ALLOC_CONF" : "PYTORCH_CUDA_ALLOC_CONF";
  const char* const given = std::getenv(name);
  setenv(name, with_expandable_segments(given == nullptr ? "" : given).c_str(), 1);
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    const char* reason = dlerror();
    throw Error(Diagnostic("E0407", std::string("libtorch's CUDA part cannot be loaded: ") + (reason ? reason : ""))
                    .help(kHelp));
  }
  // Libtorch looks for its CUDA part once, when it is first asked about CUDA. show_config() below asks.
  SHORI_CHECK(at::detail::getCUDAHooks().hasCUDART(), "libtorch was asked about CUDA before its CUDA part was loaded");
  const std::string version = libtorch_version(at::show_config());
  if (version != SHORI_TORCH_VERSION) {
    throw Error(Diagnostic("E0407",
                           "the libtorch found is release '" + version + "', this program needs " + SHORI_TORCH_VERSION)
                    .help(kHelp));
  }
  const std::vector<std::string> twice = libraries_mapped_twice(process_maps());
  if (twice.empty()) return;
  Diagnostic diagnostic("E0407", "two copies of a CUDA library are in this process");
  for (const std::string& library : twice) diagnostic.note(library);
  throw Error(diagnostic.help("take the folders of a CUDA toolkit out of LD_LIBRARY_PATH and LD_PRELOAD"));
}

void* late_function(const char* name) {
  void* address = dlsym(RTLD_DEFAULT, name);
  if (address == nullptr) {
    throw Error(Diagnostic("E0407", std::string("no library that libtorch loaded has ") + name).help(kHelp));
  }
  return address;
}

}  // namespace shori
