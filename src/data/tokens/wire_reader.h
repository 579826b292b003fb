// Fields of a protobuf message, one after the other, without the protobuf library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace shori {

// Throws Error E0211: "<file>, byte N: <what>" with the rule's number.
[[noreturn]] void fail_model_file(const std::string& name, std::size_t byte, const std::string& what, int rule);

struct WireField {
  enum class Kind : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
  std::uint32_t number = 0;
  Kind kind = Kind::kVarint;
  std::uint64_t value = 0;      // varint, fixed32, fixed64
  std::size_t offset = 0;       // of what follows the tag, in the file
  std::size_t bytes_begin = 0;  // kBytes: in the file
  std::size_t bytes_end = 0;
};

// Reads the fields of file[begin, end); every violation of the wire format is rule T1.
class WireReader {
 public:
  WireReader(std::string_view file, const std::string& name, std::size_t begin, std::size_t end)
      : file_(file), name_(name), at_(begin), end_(end) {}

  // False at the end.
  bool next(WireField& field);

  // The field as what the format says it is; another wire type or a number out of range is refused.
  std::string_view bytes(const WireField& field) const;
  std::int32_t int32(const WireField& field) const;
  bool boolean(const WireField& field) const;
  float float32(const WireField& field) const;
  WireReader message(const WireField& field) const;

 private:
  std::uint64_t varint();
  std::uint64_t fixed(std::size_t size);
  void require(const WireField& field, WireField::Kind kind) const;

  std::string_view file_;
  const std::string& name_;
  std::size_t at_, end_;
};

}  // namespace shori
