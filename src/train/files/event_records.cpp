#include "src/train/files/event_records.h"

#include <algorithm>
#include <array>
#include <bit>

#include "shori/util/text.h"

namespace shori {
namespace {

constexpr std::array<std::uint32_t, 256> kCrcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78u : 0u);
    table[i] = value;
  }
  return table;
}();

// Fields of a message in wire format. The numbers of fields and enums are those of event.proto and summary.proto.
class Message {
 public:
  Message& varint(std::uint32_t field, std::uint64_t value) {
    key(field, 0);
    append_varint(value);
    return *this;
  }
  Message& fixed64(std::uint32_t field, double value) {
    key(field, 1);
    append_fixed(std::bit_cast<std::uint64_t>(value));
    return *this;
  }
  Message& fixed32(std::uint32_t field, float value) {
    key(field, 5);
    append_fixed(std::bit_cast<std::uint32_t>(value));
    return *this;
  }
  Message& bytes(std::uint32_t field, std::string_view value) {
    key(field, 2);
    append_varint(value.size());
    text_ += value;
    return *this;
  }
  Message& message(std::uint32_t field, const Message& value) { return bytes(field, value.text_); }
  const std::string& text() const { return text_; }

  template <typename Number>
  static void append_fixed(std::string& out, Number value) {
    for (std::size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
  }

 private:
  void key(std::uint32_t field, std::uint32_t type) { append_varint(field << 3 | type); }
  void append_varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) text_ += static_cast<char>((value & 0x7f) | 0x80);
    text_ += static_cast<char>(value);
  }
  template <typename Number>
  void append_fixed(Number value) {
    append_fixed(text_, value);
  }

  std::string text_;
};

void append_masked_crc(std::string& out, std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  Message::append_fixed(out, (crc >> 15 | crc << 17) + 0xa282ead8u);
}

std::string record(const Message& event) {
  std::string out;
  Message::append_fixed(out, static_cast<std::uint64_t>(event.text().size()));
  append_masked_crc(out, std::string(out));
  out += event.text();
  append_masked_crc(out, event.text());
  return out;
}

Message event_at(const EventTime& time) {
  Message event;
  event.fixed64(1, time.wall_time);
  if (time.step > 0) event.varint(2, time.step);
  return event;
}

std::string summary_record(const EventTime& time, const Message& value) {
  return record(event_at(time).message(5, Message().message(1, value)));
}

Message plugin(std::string_view name, std::string_view content) {
  Message data;
  data.bytes(1, name);
  if (!content.empty()) data.bytes(2, content);
  return data;
}

// A google.protobuf.Value.
Message parameter_value(const HyperParameter& value) {
  if (const bool* flag = std::get_if<bool>(&value)) return Message().varint(4, *flag ? 1 : 0);
  if (const double* number = std::get_if<double>(&value)) return Message().fixed64(2, *number);
  return Message().bytes(3, std::get<std::string>(value));
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xffffffffu;
  for (const char byte : bytes) crc = kCrcTable[(crc ^ static_cast<std::uint8_t>(byte)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

std::string version_record(double wall_time) {
  return record(Message().fixed64(1, wall_time).bytes(3, "brain.Event:2"));
}

std::string session_start_record(const EventTime& time) {
  constexpr std::uint64_t kStart = 1;
  return record(event_at(time).message(7, Message().varint(1, kStart)));
}

std::string scalar_record(const EventTime& time, std::string_view tag, double value) {
  return summary_record(time, Message().bytes(1, tag).fixed32(2, static_cast<float>(value)));
}

std::string text_record(const EventTime& time, std::string_view tag, std::string_view text) {
  constexpr std::uint64_t kString = 7;
  const Message shape = Message().message(2, Message().varint(1, 1));
  const Message tensor = Message().varint(1, kString).message(2, shape).bytes(8, text);
  return summary_record(time, Message()
                                  .bytes(1, concat(tag, "/text_summary"))
                                  .message(8, tensor)
                                  .message(9, Message().message(1, plugin("text", ""))));
}

std::string hyperparameters_record(double wall_time, const std::map<std::string, HyperParameter>& values) {
  constexpr std::uint64_t kFloat = 1, kTensorClass = 2;
  Message session;
  for (const auto& [name, value] : values)
    session.message(1, Message().bytes(1, name).message(2, parameter_value(value)));
  session.fixed64(5, wall_time);
  const Message content = Message().message(3, session);
  // The plugin reads the metadata alone; the tensor is the empty one that its own writer uses.
  const Message tensor = Message().varint(1, kFloat).message(2, Message()).bytes(5, std::string(4, '\0'));
  const Message metadata = Message().message(1, plugin("hparams", content.text())).varint(4, kTensorClass);
  return summary_record({wall_time, 0},
                        Message().bytes(1, "_hparams_/session_start_info").message(8, tensor).message(9, metadata));
}

std::string fenced(std::string_view text) {
  std::size_t longest = 2;
  for (std::size_t i = 0, run = 0; i < text.size(); ++i) {
    run = text[i] == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(longest + 1, '`');
  return concat(fence, "\n", text, text.ends_with('\n') ? "" : "\n", fence, "\n");
}

}  // namespace shori
