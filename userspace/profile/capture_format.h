// SPDX-License-Identifier: Apache-2.0
//
// The numbers that the writer and the reader of .raw files share. docs/capture.md describes the
// format in words.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace stallscope {

inline constexpr std::string_view kCaptureMagic = "STALLRAW";
inline constexpr uint32_t kCaptureVersion = 1;
inline constexpr size_t kCaptureHeaderSize =
    24;  // magic 8, version 4, file length 8, CRC-32 of these 4
inline constexpr size_t kBlockHeaderSize = 16;  // type 4, stored length 4, raw length 4, CRC-32 4

// CRC-32 (zlib's) of both, one after the other.
inline uint32_t CaptureCrc(std::string_view first, std::string_view second = {}) {
  uLong crc = crc32(0, reinterpret_cast<const Bytef*>(first.data()), first.size());
  // Null bytes would ask crc32() for its first value.
  if (!second.empty())
    crc = crc32(crc, reinterpret_cast<const Bytef*>(second.data()), second.size());
  return static_cast<uint32_t>(crc);
}

// A reader refuses longer blocks; the writer keeps far below it.
inline constexpr uint32_t kMaxBlockRawLength = 16u << 20;

// Never reuse or reorder: a number names a layout for good.
enum class BlockType : uint32_t {
  kMeta = 1,
  kNotes = 2,
  kLosses = 3,
  kTotals = 4,
  kCost = 5,
  kHung = 6,
  kSpaces = 7,
  kEvents = 8,
  kNames = 9,
  kStacks = 10,
  kSamples = 11,
  kEnd = 12,
  kFiltered = 13,
  kSampleDetails = 14,
  kCensuses = 15,
  kHistograms = 16,
};

}  // namespace stallscope
