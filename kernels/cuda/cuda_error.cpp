#include <cuda_runtime_api.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string_view>

#include "kernels/common/cuda_check.h"
#include "kernels/cuda/opened_device.h"
#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {
namespace {

// Errors of a kernel that ran: they end the use of the device, and every later call reports them.
bool is_of_earlier_work(int code) {
  switch (code) {
    case cudaErrorIllegalAddress:
    case cudaErrorAssert:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string cuda_error_code(int code, bool device_listed) {
  switch (code) {
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorCompatNotSupportedOnDevice:
      return "E0403";
    case cudaErrorInitializationError:
    case cudaErrorDevicesUnavailable:
    case cudaErrorNoDevice:
    case cudaErrorOperatingSystem:
      return "E0404";
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidPtx:
    case cudaErrorUnsupportedPtxVersion:
      return "E0402";
    default:
      break;
  }
  if (code == cudaErrorContextIsDestroyed || code == cudaErrorUnknown || !device_listed) return "E0701";
  switch (code) {
    case cudaErrorMemoryAllocation:
      return "E0704";
    case cudaErrorECCUncorrectable:
    case cudaErrorContained:
    case cudaErrorHardwareStackError:
      return "E0702";
    default:
      return "E0703";
  }
}

// Each read of /dev/kmsg returns one record, the oldest first, and EAGAIN after the last.
std::string last_xid() {
  const int file = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return {};
  std::string found;
  std::array<char, 8192> record{};
  for (ssize_t length = 0; (length = read(file, record.data(), record.size())) > 0;) {
    const std::string_view text(record.data(), static_cast<std::size_t>(length));
    const std::size_t at = text.find("NVRM: Xid");
    if (at != std::string_view::npos) found = text.substr(at, text.find('\n', at) - at);
  }
  close(file);
  return found;
}

bool waits_after_each_call() {
  const char* text = std::getenv("SHORI_SYNC");
  return text != nullptr && std::string_view(text) != "" && std::string_view(text) != "0";
}

void finish_call(void* stream, const std::string& what) {
  if (!waits_after_each_call()) return;
  const cudaError_t result = cudaStreamSynchronize(static_cast<cudaStream_t>(stream));
  if (result != cudaSuccess) throw_cuda_error(result, what);
}

void throw_cuda_error(int code, const char* call, const char* file, int line) {
  const std::string_view path = file;
  throw_cuda_error(code, concat(call, ", ", path.substr(path.rfind('/') + 1), ":", line));
}

void throw_cuda_error(int code, const std::string& what) {
  const auto error = static_cast<cudaError_t>(code);
  Diagnostic diagnostic(cuda_error_code(code, opened_device_is_listed()),
                        concat("CUDA error ", code, " (", cudaGetErrorName(error), "): ", cudaGetErrorString(error)));
  diagnostic.note(what);
  if (diagnostic.code == "E0701" || diagnostic.code == "E0702") {
    const std::string xid = last_xid();
    if (!xid.empty()) diagnostic.note("the system log: " + xid);
    diagnostic.help(
        "lower the power limit (`nvidia-smi -pl`) or the clocks (`nvidia-smi -lgc`), check the temperature, "
        "reseat card and power cables");
  } else if (code == cudaErrorInitializationError) {
    diagnostic.help("check that `nvidia-smi` works; after an update of the driver, restart the machine");
  } else if (code == cudaErrorOperatingSystem) {
    diagnostic.help("give this user access to /dev/nvidia* (`ls -l /dev/nvidia*`), and a container the GPU's devices");
  } else if (code == cudaErrorLaunchTimeout) {
    diagnostic.help("a desktop that runs on this GPU ends long kernels: stop the X server, or train on another GPU");
  } else if (diagnostic.code == "E0703") {
    if (is_of_earlier_work(code) && !waits_after_each_call()) {
      diagnostic.note("work that was queued earlier may have failed")
          .help(
              "set SHORI_SYNC=1 in the environment: it waits after each call, and the error names the one that failed");
    }
    diagnostic.help("if it repeats at the same step, report it; if the step varies, suspect the card");
  }
  throw Error(diagnostic);
}

}  // namespace shori
