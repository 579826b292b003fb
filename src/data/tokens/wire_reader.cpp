#include "src/data/tokens/wire_reader.h"

#include <bit>

#include "shori/util/error.h"
#include "shori/util/file.h"
#include "shori/util/text.h"

namespace shori {

void fail_model_file(const std::string& name, std::size_t byte, const std::string& what, int rule) {
  throw Error(Diagnostic("E0211", concat(file_name(name), ", byte ", byte, ": ", what))
                  .at(name)
                  .note(concat("rule T", rule))
                  .help("get `tokenizer.model` again from the model's publisher"));
}

std::uint64_t WireReader::varint() {
  const std::size_t begin = at_;
  std::uint64_t value = 0;
  for (int shift = 0; shift < 70; shift += 7) {
    if (at_ == end_) fail_model_file(name_, begin, "a number is cut off", 1);
    const std::uint64_t byte = static_cast<unsigned char>(file_[at_++]);
    if (shift == 63 && byte > 1) fail_model_file(name_, begin, "a number has more than 64 bits", 1);
    value |= (byte & 0x7F) << shift;
    if (byte < 0x80) {
      if (byte == 0 && shift > 0) fail_model_file(name_, begin, "a number is longer than it need be", 1);
      return value;
    }
  }
  fail_model_file(name_, begin, "a number has more than 10 bytes", 1);
}

std::uint64_t WireReader::fixed(std::size_t size) {
  if (end_ - at_ < size) fail_model_file(name_, at_, "a number is cut off", 1);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value |= std::uint64_t{static_cast<unsigned char>(file_[at_ + i])} << (8 * i);
  at_ += size;
  return value;
}

bool WireReader::next(WireField& field) {
  if (at_ == end_) return false;
  const std::size_t tag_at = at_;
  const std::uint64_t tag = varint();
  if (tag >> 3 == 0 || tag >> 32 != 0) fail_model_file(name_, tag_at, "no such field number", 1);
  field = {static_cast<std::uint32_t>(tag >> 3), static_cast<WireField::Kind>(tag & 7), 0, at_, 0, 0};
  switch (tag & 7) {
    case 0:
      field.value = varint();
      break;
    case 1:
      field.value = fixed(8);
      break;
    case 5:
      field.value = fixed(4);
      break;
    case 2: {
      const std::uint64_t length = varint();
      if (length > end_ - at_) fail_model_file(name_, field.offset, "a length reaches past the end", 1);
      field.bytes_begin = at_;
      field.bytes_end = at_ += static_cast<std::size_t>(length);
      break;
    }
    default:
      fail_model_file(name_, tag_at, concat("wire type ", tag & 7, " is not used in model files"), 1);
  }
  return true;
}

void WireReader::require(const WireField& field, WireField::Kind kind) const {
  if (field.kind == kind) return;
  fail_model_file(name_, field.offset, concat("field ", field.number, " has the wrong wire type"), 1);
}

std::string_view WireReader::bytes(const WireField& field) const {
  require(field, WireField::Kind::kBytes);
  return file_.substr(field.bytes_begin, field.bytes_end - field.bytes_begin);
}

WireReader WireReader::message(const WireField& field) const {
  require(field, WireField::Kind::kBytes);
  return WireReader(file_, name_, field.bytes_begin, field.bytes_end);
}

std::int32_t WireReader::int32(const WireField& field) const {
  require(field, WireField::Kind::kVarint);
  const auto value = static_cast<std::int64_t>(field.value);
  if (value != static_cast<std::int32_t>(value)) fail_model_file(name_, field.offset, "a number is out of range", 1);
  return static_cast<std::int32_t>(value);
}

bool WireReader::boolean(const WireField& field) const {
  require(field, WireField::Kind::kVarint);
  if (field.value > 1) fail_model_file(name_, field.offset, "a truth value is neither 0 nor 1", 1);
  return field.value == 1;
}

float WireReader::float32(const WireField& field) const {
  require(field, WireField::Kind::kFixed32);
  return std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
}

}  // namespace shori
