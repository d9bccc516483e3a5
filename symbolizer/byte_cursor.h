// SPDX-License-Identifier: Apache-2.0
//
// Reads little-endian values out of bytes that nobody vouches for.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace stallscope::symbolizer {

static_assert(std::endian::native == std::endian::little,
              "fixed-size reads copy the bytes as they are");

// A position in a string of bytes that never passes its end. A read that would is refused: it gives
// zero, and ok() is false from then on, so that a caller may read a whole record and ask once.
class ByteCursor {
 public:
  explicit ByteCursor(std::string_view bytes, uint64_t position = 0) : bytes_(bytes) {
    Seek(position);
  }

  bool ok() const { return ok_; }
  size_t position() const { return position_; }
  size_t remaining() const { return bytes_.size() - position_; }

  uint8_t U8() { return Fixed<uint8_t>(); }
  uint16_t U16() { return Fixed<uint16_t>(); }
  uint32_t U32() { return Fixed<uint32_t>(); }
  uint64_t U64() { return Fixed<uint64_t>(); }
  int32_t I32() { return static_cast<int32_t>(Fixed<uint32_t>()); }

  // Seven bits a byte, lowest first; refused when it needs more than 64 bits.
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = U8();
      const uint64_t bits = byte & 0x7f;
      if (!ok_ || (shift == 63 && bits > 1)) break;
      value |= bits << shift;
      if ((byte & 0x80) == 0) return value;
    }
    Refuse();
    return 0;
  }

  // A varint whose lowest bit is the sign: 0, -1, 1, -2, ...
  int64_t ZigZag() {
    const uint64_t value = Varint();
    return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
  }

  // Seven bits a byte, lowest first, the highest of them the sign (DWARF's SLEB128); refused when
  // it needs more than 64 bits.
  int64_t SignedVarint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = U8();
      if (!ok_ || (shift == 63 && byte != 0 && byte != 0x7f)) break;
      value |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) != 0) continue;
      if ((byte & 0x40) != 0 && shift < 57) value |= ~uint64_t{0} << (shift + 7);
      return static_cast<int64_t>(value);
    }
    Refuse();
    return 0;
  }

  std::string_view Bytes(uint64_t size) {
    if (!ok_ || size > remaining()) return Refuse(), std::string_view();
    const std::string_view taken = bytes_.substr(position_, size);
    position_ += size;
    return taken;
  }

  // The bytes up to a NUL, which is passed over; refused when there is none within `limit` bytes.
  std::string_view CString(size_t limit) {
    const std::string_view rest = bytes_.substr(position_, limit);
    const size_t size = rest.find('\0');
    if (!ok_ || size == std::string_view::npos) return Refuse(), std::string_view();
    position_ += size + 1;
    return rest.substr(0, size);
  }

  void Skip(uint64_t size) { Bytes(size); }

  void Seek(uint64_t position) {
    if (position > bytes_.size()) return Refuse();
    position_ = position;
  }

 private:
  template <typename T>
  T Fixed() {
    T value = 0;
    if (!ok_ || sizeof(T) > remaining()) return Refuse(), value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  void Refuse() {
    ok_ = false;
    position_ = bytes_.size();
  }

  std::string_view bytes_;
  size_t position_ = 0;
  bool ok_ = true;
};

}  // namespace stallscope::symbolizer
