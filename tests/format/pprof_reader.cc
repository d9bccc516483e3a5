// SPDX-License-Identifier: Apache-2.0
#include "tests/format/pprof_reader.h"

#include <fmt/format.h>
#include <zlib.h>

#include <protozero/pbf_reader.hpp>
#include <set>

namespace stallscope {
namespace {

std::string Gunzip(std::string_view bytes, std::vector<std::string>& faults) {
  z_stream stream = {};
  std::string out;
  if (inflateInit2(&stream, 15 + 16) != Z_OK) return out;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::vector<char> buffer(1u << 20);
  int result = Z_OK;
  while (result == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = static_cast<uInt>(buffer.size());
    result = inflate(&stream, Z_NO_FLUSH);
    out.append(buffer.data(), buffer.size() - stream.avail_out);
  }
  if (result != Z_STREAM_END) faults.push_back(fmt::format("not gzip: zlib says {}", result));
  if (stream.avail_in != 0) faults.push_back("bytes after the end of gzip");
  inflateEnd(&stream);
  return out;
}

// By another way than text.cc goes: a table of how many bytes follow.
bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const unsigned char lead = text[i];
    const size_t size = lead < 0x80   ? 1
                        : lead < 0xc2 ? 0
                        : lead < 0xe0 ? 2
                        : lead < 0xf0 ? 3
                        : lead < 0xf5 ? 4
                                      : 0;
    if (size == 0 || i + size > text.size()) return false;
    for (size_t k = 1; k < size; ++k) {
      if ((text[i + k] & 0xc0) != 0x80) return false;
    }
    const unsigned char second = size > 1 ? text[i + 1] : 0;
    if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
        (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) {
      return false;
    }
    i += size;
  }
  return true;
}

class Reader {
 public:
  explicit Reader(PprofFile& file) : file_(file) {}

  void Read(const std::string& bytes) {
    // The table of strings may stand anywhere.
    for (protozero::pbf_reader message(bytes); message.next();) {
      if (message.tag() == 6) {
        file_.strings.push_back(message.get_string());
      } else {
        message.skip();
      }
    }
    for (protozero::pbf_reader message(bytes); message.next();) ReadField(message);
  }

 private:
  std::string Text(int64_t index) {
    if (index >= 0 && static_cast<size_t>(index) < file_.strings.size())
      return file_.strings[index];
    file_.faults.push_back(fmt::format("no string {}", index));
    return "";
  }

  void Unknown(std::string_view what, protozero::pbf_reader& message) {
    file_.faults.push_back(fmt::format("{}: field {}", what, message.tag()));
    message.skip();
  }

  void ReadField(protozero::pbf_reader& message) {
    switch (message.tag()) {
      case 1:
        file_.types.push_back(ReadType(message.get_message()));
        break;
      case 2:
        ReadSample(message.get_message());
        break;
      case 3:
        ReadMapping(message.get_message());
        break;
      case 4:
        ReadLocation(message.get_message());
        break;
      case 5:
        ReadFunction(message.get_message());
        break;
      case 6:
        message.skip();
        break;
      case 9:
        file_.time_nanos = message.get_int64();
        break;
      case 10:
        file_.duration_nanos = message.get_int64();
        break;
      case 11:
        file_.period_type = ReadType(message.get_message());
        break;
      case 12:
        file_.period = message.get_int64();
        break;
      case 13:
        for (const int64_t comment : message.get_packed_int64())
          file_.comments.push_back(Text(comment));
        break;
      case 14:
        file_.standard_type = Text(message.get_int64());
        break;
      default:
        Unknown("Profile", message);
    }
  }

  PprofFile::ValueType ReadType(protozero::pbf_reader message) {
    PprofFile::ValueType type;
    while (message.next()) {
      switch (message.tag()) {
        case 1:
          type.first = Text(message.get_int64());
          break;
        case 2:
          type.second = Text(message.get_int64());
          break;
        default:
          Unknown("ValueType", message);
      }
    }
    return type;
  }

  void ReadSample(protozero::pbf_reader message) {
    PprofFile::Sample& sample = file_.samples.emplace_back();
    while (message.next()) {
      switch (message.tag()) {
        case 1:
          for (const uint64_t id : message.get_packed_uint64()) sample.locations.push_back(id);
          break;
        case 2:
          for (const int64_t value : message.get_packed_int64()) sample.values.push_back(value);
          break;
        case 3:
          ReadLabel(message.get_message(), sample);
          break;
        default:
          Unknown("Sample", message);
      }
    }
  }

  void ReadLabel(protozero::pbf_reader message, PprofFile::Sample& sample) {
    auto& label = sample.labels.emplace_back();
    while (message.next()) {
      switch (message.tag()) {
        case 1:
          label.first = Text(message.get_int64());
          break;
        case 2:
          label.second = Text(message.get_int64());
          break;
        default:
          Unknown("Label", message);
      }
    }
  }

  void ReadMapping(protozero::pbf_reader message) {
    PprofFile::Mapping& mapping = file_.mappings.emplace_back();
    while (message.next()) {
      switch (message.tag()) {
        case 1:
          mapping.id = message.get_uint64();
          break;
        case 2:
          mapping.start = message.get_uint64();
          break;
        case 3:
          mapping.limit = message.get_uint64();
          break;
        case 4:
          mapping.offset = message.get_uint64();
          break;
        case 5:
          mapping.file = Text(message.get_int64());
          break;
        case 6:
          mapping.build_id = Text(message.get_int64());
          break;
        case 7:
          mapping.has_functions = message.get_bool();
          break;
        case 8:
          mapping.has_files = message.get_bool();
          break;
        case 9:
          mapping.has_lines = message.get_bool();
          break;
        case 10:
          mapping.has_inlined = message.get_bool();
          break;
        default:
          Unknown("Mapping", message);
      }
    }
  }

  void ReadLocation(protozero::pbf_reader message) {
    PprofFile::Location& location = file_.locations.emplace_back();
    while (message.next()) {
      switch (message.tag()) {
        case 1:
          location.id = message.get_uint64();
          break;
        case 2:
          location.mapping = message.get_uint64();
          break;
        case 3:
          location.address = message.get_uint64();
          break;
        case 4:
          ReadLine(message.get_message(), location);
          break;
        default:
          Unknown("Location", message);
      }
    }
  }

  void ReadLine(protozero::pbf_reader message, PprofFile::Location& location) {
    PprofFile::Line& line = location.lines.emplace_back();
    while (message.next()) {
      switch (message.tag()) {
        case 1:
          line.function = message.get_uint64();
          break;
        case 2:
          line.line = message.get_int64();
          break;
        default:
          Unknown("Line", message);
      }
    }
  }

  void ReadFunction(protozero::pbf_reader message) {
    PprofFile::Function& function = file_.functions.emplace_back();
    while (message.next()) {
      switch (message.tag()) {
        case 1:
          function.id = message.get_uint64();
          break;
        case 2:
          function.name = Text(message.get_int64());
          break;
        case 3:
          function.system_name = Text(message.get_int64());
          break;
        case 4:
          function.file = Text(message.get_int64());
          break;
        default:
          Unknown("Function", message);
      }
    }
  }

  PprofFile& file_;
};

template <typename T>
void CheckIds(std::string_view what, const std::vector<T>& of, std::set<uint64_t>& ids,
              std::vector<std::string>& faults) {
  for (const T& one : of) {
    if (one.id == 0) faults.push_back(fmt::format("a {} of id 0", what));
    if (!ids.insert(one.id).second) faults.push_back(fmt::format("two {}s of id {}", what, one.id));
  }
}

}  // namespace

std::string PprofFile::Sample::Label(std::string_view key) const {
  for (const auto& [name, value] : labels) {
    if (name == key) return value;
  }
  return "";
}

const PprofFile::Location* PprofFile::FindLocation(uint64_t id) const {
  for (const Location& location : locations) {
    if (location.id == id) return &location;
  }
  return nullptr;
}

const PprofFile::Mapping* PprofFile::FindMapping(uint64_t id) const {
  for (const Mapping& mapping : mappings) {
    if (mapping.id == id) return &mapping;
  }
  return nullptr;
}

std::vector<std::string> PprofFile::Stack(const Sample& sample) const {
  std::vector<std::string> stack;
  for (const uint64_t id : sample.locations) {
    std::string names;
    const Location* location = FindLocation(id);
    for (const Line& line : location ? location->lines : std::vector<Line>()) {
      for (const Function& function : functions) {
        if (function.id == line.function) names += (names.empty() ? "" : " < ") + function.name;
      }
    }
    stack.push_back(names);
  }
  return stack;
}

int64_t PprofFile::Total(size_t type) const {
  int64_t total = 0;
  for (const Sample& sample : samples) total += sample.values.at(type);
  return total;
}

PprofFile ReadPprof(std::string_view gzipped) {
  PprofFile file;
  const std::string bytes = Gunzip(gzipped, file.faults);
  try {
    Reader(file).Read(bytes);
  } catch (const protozero::exception& error) {
    file.faults.push_back(fmt::format("not a message: {}", error.what()));
  }
  return file;
}

std::vector<std::string> FaultsOf(const PprofFile& file) {
  std::vector<std::string> faults = file.faults;
  std::set<uint64_t> mappings, locations, functions;
  CheckIds("mapping", file.mappings, mappings, faults);
  CheckIds("location", file.locations, locations, faults);
  CheckIds("function", file.functions, functions, faults);
  if (file.strings.empty() || !file.strings[0].empty()) faults.push_back("string 0 is not empty");
  if (std::set<std::string>(file.strings.begin(), file.strings.end()).size() != file.strings.size())
    faults.push_back("a string twice");
  for (const std::string& text : file.strings) {
    if (!IsUtf8(text)) faults.push_back("a string that is not UTF-8");
  }
  if (file.types.empty()) faults.push_back("no type, which go tool pprof takes for no profile");
  for (const PprofFile::Sample& sample : file.samples) {
    if (sample.values.size() != file.types.size())
      faults.push_back("another number of values than of types");
    if (sample.locations.empty()) faults.push_back("a sample in no picture");
    for (const uint64_t id : sample.locations) {
      if (locations.count(id) == 0) faults.push_back(fmt::format("no location {}", id));
    }
    std::set<std::string> keys;
    for (const auto& [key, value] : sample.labels) {
      if (key.empty() || value.empty()) faults.push_back("a label without key or value");
      if (key.rfind("pprof::", 0) == 0) faults.push_back("a reserved key");
      if (!keys.insert(key).second) faults.push_back(fmt::format("two values of label {}", key));
    }
  }
  for (const PprofFile::Location& location : file.locations) {
    if (location.lines.empty()) faults.push_back("a location without a line");
    if (location.mapping != 0 && mappings.count(location.mapping) == 0)
      faults.push_back(fmt::format("no mapping {}", location.mapping));
    for (const PprofFile::Line& line : location.lines) {
      if (functions.count(line.function) == 0)
        faults.push_back(fmt::format("no function {}", line.function));
    }
  }
  for (const PprofFile::Function& function : file.functions) {
    if (function.name.empty()) faults.push_back("a function without a name");
    if (!function.system_name.empty()) faults.push_back("a name that pprof would demangle again");
  }
  if (file.mappings.empty()) faults.push_back("no mapping: pprof makes one up");
  for (const PprofFile::Mapping& mapping : file.mappings) {
    if (!mapping.has_functions) faults.push_back("a mapping that pprof would look names up for");
    if (mapping.build_id.size() == 1) faults.push_back("a build id that pprof falls over");
  }
  bool known = false;
  for (const auto& [name, unit] : file.types) known |= name == file.standard_type;
  if (!known) faults.push_back(fmt::format("no type '{}'", file.standard_type));
  return faults;
}

}  // namespace stallscope
