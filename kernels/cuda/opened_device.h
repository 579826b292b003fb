// The GPU that open_device() chose, for the other files of the backend.
#pragma once

namespace shori {

// Whether the driver still reaches it. True if no device was opened yet or the driver cannot be asked.
bool opened_device_is_listed();

}  // namespace shori
