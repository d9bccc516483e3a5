// SPDX-License-Identifier: Apache-2.0
//
// Reads what Pprof() writes, field by field as profile.proto has them, and holds it against the
// rules that pprof's own reader refuses files by.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stallscope {

struct PprofFile {
  struct Line {
    uint64_t function = 0;
    int64_t line = 0;
  };
  struct Location {
    uint64_t id = 0, mapping = 0, address = 0;
    std::vector<Line> lines;
  };
  struct Mapping {
    uint64_t id = 0, start = 0, limit = 0, offset = 0;
    std::string file, build_id;
    bool has_functions = false, has_files = false, has_lines = false, has_inlined = false;
  };
  struct Function {
    uint64_t id = 0;
    std::string name, system_name, file;
  };
  struct Sample {
    std::vector<uint64_t> locations;
    std::vector<int64_t> values;
    std::vector<std::pair<std::string, std::string>> labels;
    std::string Label(std::string_view key) const;  // "" when there is none
  };
  using ValueType = std::pair<std::string, std::string>;

  std::vector<ValueType> types;
  std::vector<Sample> samples;
  std::vector<Mapping> mappings;
  std::vector<Location> locations;
  std::vector<Function> functions;
  std::vector<std::string> strings;
  std::vector<std::string> comments;
  ValueType period_type;
  int64_t time_nanos = 0, duration_nanos = 0, period = 0;
  std::string standard_type;
  // What no string of the file may be and what no index may point at: one line a breach.
  std::vector<std::string> faults;

  const Location* FindLocation(uint64_t id) const;
  const Mapping* FindMapping(uint64_t id) const;
  // The names of a sample's frames, leaf first; those of one location joined by " < ".
  std::vector<std::string> Stack(const Sample& sample) const;
  int64_t Total(size_t type) const;
};

// `gzipped` must be gzip and a message; else the faults say so.
PprofFile ReadPprof(std::string_view gzipped);

// The file's faults, and what breaks a rule between its parts: ids, counts, references, labels.
std::vector<std::string> FaultsOf(const PprofFile& file);

}  // namespace stallscope
