// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/outputs.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "userspace/cli/words.h"
#include "userspace/format/format.h"
#include "userspace/profile/capture.h"

namespace stallscope {
namespace {

struct NamedFormat {
  Format format;
  std::string_view name;
  std::string_view ending;
};
constexpr NamedFormat kFormats[] = {{Format::kFolded, "folded", "folded"},
                                    {Format::kHtml, "html", "html"},
                                    {Format::kJson, "json", "json"},
                                    {Format::kPprof, "pprof", "pb.gz"},
                                    {Format::kRaw, "raw", "raw"}};

// --- names
// -----------------------------------------------------------------------------------------------------------

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string_view NameOf(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

// ".folded" for example, with something before it.
bool HasEnding(std::string_view name, Format format) {
  const std::string ending = "." + FormatEnding(format);
  return name.size() >= ending.size() && name.substr(name.size() - ending.size()) == ending;
}

// Letters, digits and "._-" stay; a name does not start with a dot.
std::string FileNamePart(std::string_view text) {
  std::string part;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-' || (c == '.' && !part.empty());
    part += plain ? c : '_';
  }
  return part.empty() ? "target" : part;
}

// 20261121T091500Z
std::string TimeForFileName(int64_t unix_ns) {
  const time_t seconds = unix_ns / 1'000'000'000;
  struct tm utc = {};
  gmtime_r(&seconds, &utc);
  char text[32];
  strftime(text, sizeof(text), "%Y%m%dT%H%M%SZ", &utc);
  return text;
}

absl::Status FileError(const std::string& path, int error, std::string_view remedy) {
  return RunError(fmt::format("{}: {}", Printable(path), strerror(error)), remedy);
}

// --- writing
// ---------------------------------------------------------------------------------------------------------

// Returns 0 or an errno.
int WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes.remove_prefix(n);
  }
  return 0;
}

// Where a regular file goes, and the file that lies there now.
struct RegularPlace {
  std::string path;  // links followed
  std::optional<struct stat> existing;
};

// In a directory like /tmp a link of somebody else's may lead root anywhere, whether or not the
// kernel looks after that (fs.protected_symlinks): the rule is the kernel's.
bool IsSafeLink(const std::string& path, const struct stat& link) {
  struct stat directory;
  if (stat(DirectoryOf(path).c_str(), &directory) != 0) return false;
  constexpr mode_t kShared = S_ISVTX | S_IWOTH;
  return (directory.st_mode & kShared) != kShared || link.st_uid == geteuid() ||
         link.st_uid == directory.st_uid;
}

// Follows links to a regular file. One that leads elsewhere, nowhere or is not safe is a file of
// its own, to be replaced.
RegularPlace FollowLinks(const std::string& path) {
  constexpr int kMostLinks = 40;  // as the kernel
  std::string at = path;
  for (int links = 0; links <= kMostLinks; ++links) {
    struct stat info;
    if (lstat(at.c_str(), &info) != 0) break;
    if (S_ISREG(info.st_mode)) return {at, info};
    if (!S_ISLNK(info.st_mode) || !IsSafeLink(at, info)) break;
    char target[PATH_MAX];
    const ssize_t length = readlink(at.c_str(), target, sizeof(target));
    if (length <= 0 || static_cast<size_t>(length) == sizeof(target)) break;
    const std::string_view next(target, length);
    at = next.front() == '/' ? std::string(next) : fmt::format("{}/{}", DirectoryOf(at), next);
  }
  return {path, std::nullopt};
}

// Whether the new file gets the mode and the owner of the old one. In /tmp anybody can have put it
// there, to own what we write.
bool KeepsModeOf(const RegularPlace& place) {
  struct stat directory;
  if (!place.existing || stat(DirectoryOf(place.path).c_str(), &directory) != 0) return false;
  return !(directory.st_mode & S_ISVTX) || place.existing->st_uid == geteuid();
}

// A file that is removed unless it was given its final name.
class TemporaryFile {
 public:
  // A new file beside `place`; fd() is -1 and errno says why where it cannot be made.
  static TemporaryFile Beside(const RegularPlace& place) {
    TemporaryFile file;
    const bool keeps_mode = KeepsModeOf(place);
    const mode_t mode = keeps_mode ? place.existing->st_mode & 0777 : 0666;
    for (int attempt = 0; attempt < 100; ++attempt) {
      file.path_ =
          fmt::format("{}/.stallscope-{}-{}.tmp", DirectoryOf(place.path), getpid(), attempt);
      file.fd_ =
          open(file.path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
      if (file.fd_ >= 0 || errno != EEXIST) break;
    }
    if (file.fd_ < 0 || !keeps_mode) return file;
    // As far as it goes: file systems without owners or modes take what they are given.
    static_cast<void>(!fchown(file.fd_, place.existing->st_uid, place.existing->st_gid));
    static_cast<void>(!fchmod(file.fd_, mode));
    return file;
  }
  TemporaryFile(TemporaryFile&& other) noexcept
      : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  ~TemporaryFile() {
    if (fd_ < 0) return;
    close(fd_);
    unlink(path_.c_str());
  }

  int fd() const { return fd_; }

  // Writes, makes it durable, renames. Returns 0 or an errno.
  int Become(const std::string& path, std::string_view bytes) {
    if (const int error = WriteAll(fd_, bytes)) return error;
    // File systems that keep writes back say here that there is no room. EINVAL: this one cannot
    // sync.
    if (fsync(fd_) != 0 && errno != EINVAL && errno != ENOTSUP) return errno;
    if (rename(path_.c_str(), path.c_str()) != 0) return errno;
    close(std::exchange(fd_, -1));
    return 0;
  }

 private:
  TemporaryFile() = default;
  std::string path_;
  int fd_ = -1;
};

enum class Place { kNew, kRegular, kDirectory, kDevice };

// What is at the path now, links followed: /dev/fd/63 of a shell's >(...) is a pipe.
Place PlaceAt(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return Place::kNew;
  if (S_ISREG(info.st_mode)) return Place::kRegular;
  return S_ISDIR(info.st_mode) ? Place::kDirectory : Place::kDevice;
}

// Returns 0 or an errno.
int Put(const std::string& path, std::string_view bytes) {
  if (IsStdout(path)) return WriteAll(STDOUT_FILENO, bytes);
  switch (PlaceAt(path)) {
    case Place::kDirectory:
      return EISDIR;
    case Place::kDevice: {
      const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
      if (fd < 0) return errno;
      const int error = WriteAll(fd, bytes);
      close(fd);
      return error;
    }
    case Place::kNew:
    case Place::kRegular:
      break;
  }
  const RegularPlace place = FollowLinks(path);
  TemporaryFile file = TemporaryFile::Beside(place);
  if (file.fd() < 0) return errno;
  return file.Become(place.path, bytes);
}

// Keeps the result of a file that could not be written: in `directory` under a new name, for its
// owner alone. Returns the path, or "" when that fails as well.
std::string Rescue(const std::string& directory, const Output& output, std::string_view bytes) {
  const std::string_view name = NameOf(output.path);
  const size_t ending = HasEnding(name, output.format) ? FormatEnding(output.format).size() + 1 : 0;
  const std::string stem = output.path == "-"
                               ? "stallscope-output"
                               : FileNamePart(ending > 0 ? name.substr(0, name.size() - ending)
                                                         : name.substr(0, name.rfind('.')));
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::string path = fmt::format("{}/{}-{}-{}.{}", directory, stem, getpid(), attempt,
                                   FormatEnding(output.format));
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0) return "";
    const int error = WriteAll(fd, bytes);
    if (close(fd) == 0 && error == 0) return path;
    unlink(path.c_str());
    return "";
  }
  return "";
}

std::optional<Profile> MadeByAddress(const Recording& recording, ProfileOptions view) {
  view.by_address = true;
  auto profile = MakeProfile(recording, view);
  if (!profile.ok()) return std::nullopt;  // the view's expressions have compiled before
  return *std::move(profile);
}

}  // namespace

std::vector<std::string> FormatNames() {
  std::vector<std::string> names;
  for (const NamedFormat& format : kFormats) names.emplace_back(format.name);
  return names;
}

std::vector<std::string> FormatEndings() {
  std::vector<std::string> endings;
  for (const NamedFormat& format : kFormats) endings.emplace_back(format.ending);
  return endings;
}

std::string FormatEnding(Format format) {
  for (const NamedFormat& named : kFormats) {
    if (named.format == format) return std::string(named.ending);
  }
  return "";
}

std::optional<Format> FormatNamed(std::string_view name) {
  for (const NamedFormat& format : kFormats) {
    if (format.name == name) return format.format;
  }
  return std::nullopt;
}

std::optional<Format> FormatOfPath(std::string_view path) {
  for (const NamedFormat& format : kFormats) {
    if (HasEnding(NameOf(path), format.format)) return format.format;
  }
  return std::nullopt;
}

bool HoldsOneEvent(Format format) { return format == Format::kFolded || format == Format::kPprof; }

bool IsStdout(std::string_view path) {
  return path == "-" || path == "/dev/stdout" || path == "/dev/fd/1" || path == "/proc/self/fd/1";
}

std::string PathOfEvent(std::string_view path, std::string_view event) {
  if (IsStdout(path)) return std::string(path);
  const std::optional<Format> format = FormatOfPath(path);
  if (!format || !HoldsOneEvent(*format)) return fmt::format("{}.{}", path, event);
  const std::string ending = FormatEnding(*format);
  path.remove_suffix(ending.size());
  return fmt::format("{}{}.{}", path, event, ending);
}

std::vector<Output> PlanOutputs(const std::vector<Output>& wanted,
                                const std::vector<std::string>& events) {
  std::vector<Output> outputs;
  for (const Output& output : wanted) {
    if (!HoldsOneEvent(output.format)) {
      outputs.push_back(output);
      continue;
    }
    for (const std::string& event : events) {
      outputs.push_back({events.size() > 1 ? PathOfEvent(output.path, event) : output.path,
                         output.format, event});
    }
  }
  return outputs;
}

std::vector<Output> DefaultOutputs(std::string_view name, std::optional<uint32_t> pid,
                                   int64_t start_unix_ns, std::optional<Format> format) {
  const std::string stem =
      fmt::format("stallscope-{}-{}{}", FileNamePart(name), pid ? fmt::format("{}-", *pid) : "",
                  TimeForFileName(start_unix_ns));
  std::vector<Output> outputs;
  for (const Format f : {Format::kHtml, Format::kFolded}) {
    if (!format) outputs.push_back({fmt::format("{}.{}", stem, FormatEnding(f)), f, ""});
  }
  if (format) outputs.push_back({fmt::format("{}.{}", stem, FormatEnding(*format)), *format, ""});
  return outputs;
}

absl::Status CheckWritable(const Output& output) {
  constexpr std::string_view kRemedy = "nothing was done; name another place: -o FILE";
  if (IsStdout(output.path)) return absl::OkStatus();
  switch (PlaceAt(output.path)) {
    case Place::kDirectory:
      return FileError(output.path, EISDIR, kRemedy);
    case Place::kDevice:
      // Not opened: closing a FIFO again would tell its reader that this was all.
      if (access(output.path.c_str(), W_OK) != 0) return FileError(output.path, errno, kRemedy);
      return absl::OkStatus();
    case Place::kNew:
    case Place::kRegular:
      break;
  }
  if (NameOf(output.path).size() > 255) return FileError(output.path, ENAMETOOLONG, kRemedy);
  const TemporaryFile file = TemporaryFile::Beside(FollowLinks(output.path));
  if (file.fd() < 0) return FileError(output.path, errno, kRemedy);
  return absl::OkStatus();
}

absl::Status CheckWritable(const std::vector<Output>& outputs) {
  for (const Output& output : outputs) {
    if (auto status = CheckWritable(output); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckStdout(const std::vector<Output>& outputs) {
  std::vector<std::string> events;
  for (const Output& output : outputs) {
    if (output.format == Format::kPprof && IsStdout(output.path)) events.push_back(output.event);
  }
  if (events.size() < 2) return absl::OkStatus();
  return UsageError(
      fmt::format("-o -: a pprof file holds one event, and there are {}: {}", events.size(),
                  Printable(Joined(events, ", "))),
      "give -o a file (FILE.pb.gz makes one an event), or record one event: -e EVENT");
}

absl::Status WriteWhole(const std::string& path, std::string_view bytes) {
  if (const int error = Put(path, bytes))
    return FileError(path, error, "name another place: -o FILE");
  return absl::OkStatus();
}

std::vector<std::string> FallbackDirectories() {
  std::vector<std::string> directories;
  if (const char* directory = getenv("TMPDIR"); directory && *directory == '/')
    directories.push_back(directory);
  directories.push_back("/dev/shm");
  return directories;
}

absl::StatusOr<std::string> Render(const Recording& recording, const Profile& profile,
                                   const Output& output) {
  switch (output.format) {
    case Format::kFolded:
    case Format::kPprof:
      for (const EventProfile& event : profile.events) {
        if (event.name != output.event) continue;
        return output.format == Format::kFolded ? Folded(profile, event) : Pprof(profile, event);
      }
      return RunError(fmt::format("{}: there is no event '{}' in this recording",
                                  Printable(output.path), Printable(output.event)),
                      "the events of a capture are fixed when it is recorded");
    case Format::kHtml:
      return Html(profile);
    case Format::kJson:
      return Json(profile);
    case Format::kRaw:
      return WriteCapture(recording);
  }
  return RunError("no such format", "this is a fault of stallscope");
}

WriteReport WriteOutputs(const Recording& recording, const Profile& profile,
                         const ProfileOptions& view, const std::vector<Output>& outputs,
                         const std::vector<std::string>& fallbacks) {
  WriteReport report;
  std::optional<Profile> by_address;
  for (const Output& output : outputs) {
    const bool tells_addresses = output.format == Format::kPprof;
    if (tells_addresses && !by_address) by_address = MadeByAddress(recording, view);
    auto bytes = Render(recording, tells_addresses && by_address ? *by_address : profile, output);
    if (!bytes.ok()) {
      report.status.Update(bytes.status());
      continue;
    }
    const int error = Put(output.path, *bytes);
    if (error == 0) {
      if (!IsStdout(output.path)) report.paths.push_back(output.path);
      continue;
    }
    std::string rescued;
    // Whoever closed the pipe has read what they wanted.
    for (size_t i = 0; i < fallbacks.size() && rescued.empty() && error != EPIPE; ++i) {
      rescued = Rescue(fallbacks[i], output, *bytes);
    }
    if (!rescued.empty()) report.paths.push_back(rescued);
    report.status.Update(
        FileError(output.path, error,
                  rescued.empty() ? "the result is lost: record again to another place (-o FILE)"
                                  : fmt::format("the result is in {}", rescued)));
  }
  return report;
}

}  // namespace stallscope
