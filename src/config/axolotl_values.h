// Values that Axolotl's users write and that mean what a value of this program means.
#pragma once

#include <string>
#include <string_view>

#include "src/config/settings.h"

namespace shori {

// Replaces the value of `setting` by what it means here: `bf16: auto`, `optimizer: paged_adamw_8bit`, `num_epochs: 2.0`,
// `max_steps: -1`, and off values in any spelling where the key can be off. `setting.written` then keeps the line as it
// was. Every other value stays.
void read_axolotl_value(const KeyInfo& key, Setting& setting);

// What to write instead of a value that is not offered: the nearest thing; empty if there is none.
std::string nearest_value(std::string_view key, std::string_view value);

// The key that has the meaning of `name` in another program: "lora_rank" is `lora_r`. Empty if none is known.
std::string_view key_by_meaning(std::string_view name);
// The same for the members of a dataset entry.
std::string_view entry_key_by_meaning(std::string_view name);

}  // namespace shori
