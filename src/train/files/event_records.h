// Records of TensorBoard's event files. A record is a length, a message of protocol buffers and a checksum of each:
// https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>

namespace shori {

// CRC-32C (Castagnoli), as of RFC 3720.
std::uint32_t crc32c(std::string_view bytes);

// One event. `wall_time`: seconds since 1970; readers sort nothing by it. `step`: the optimizer step, left out when 0.
struct EventTime {
  double wall_time = 0;
  std::uint64_t step = 0;
};

// The first record of every file.
std::string version_record(double wall_time);
// Readers that meet it drop what they read before of this step and later ones: a resumed run trains them again.
std::string session_start_record(const EventTime& time);
// `value` is rounded to float32.
std::string scalar_record(const EventTime& time, std::string_view tag, double value);
// `text` is Markdown; see fenced(). The tag gets the suffix of the text plugin.
std::string text_record(const EventTime& time, std::string_view tag, std::string_view text);

using HyperParameter = std::variant<bool, double, std::string>;
// What the hyperparameter table shows for this run.
std::string hyperparameters_record(double wall_time, const std::map<std::string, HyperParameter>& values);

// `text` as a code block of Markdown, so that `*` and `_` stay what they are.
std::string fenced(std::string_view text);

}  // namespace shori
