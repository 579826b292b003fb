// What the backend's files share about the GPU that open_device() chose.
#pragma once

namespace shori {

// Whether the driver still reaches it; true where no device was opened yet or the driver cannot be asked.
bool opened_device_is_listed();

}  // namespace shori
