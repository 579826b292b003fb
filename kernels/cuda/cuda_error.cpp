#include <cuda_runtime_api.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include "kernels/common/cuda_check.h"
#include "kernels/cuda/opened_device.h"
#include "shori/util/error.h"
#include "shori/util/text.h"

namespace shori {

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

void throw_cuda_error(int code, const char* call, const char* file, int line) {
  const auto error = static_cast<cudaError_t>(code);
  const std::string_view path = file;
  Diagnostic diagnostic(cuda_error_code(code, opened_device_is_listed()),
                        concat("CUDA error ", code, " (", cudaGetErrorName(error), "): ", cudaGetErrorString(error)));
  diagnostic.note(concat(call, ", ", path.substr(path.rfind('/') + 1), ":", line));
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
    diagnostic.help("if it repeats at the same step, report it; if the step varies, suspect the card");
  }
  throw Error(diagnostic);
}

}  // namespace shori
