// SPDX-License-Identifier: Apache-2.0
//
// The only file that includes CLI11 (it costs seconds to compile). CLI11 splits words into options
// and values; what a value means is decided here, so that every refusal is in our words.
#include "userspace/cli/options.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <charconv>
#include <tuple>

#include "userspace/cli/words.h"
#include "userspace/collect/requirements.h"
#include "userspace/profile/frame_filter.h"

namespace stallscope {
namespace {

const std::vector<std::string>& CommandNames() {
  static const std::vector<std::string> names = {"record",  "dump", "top",  "net",
                                                 "convert", "diff", "list", "doctor"};
  return names;
}

// --- values
// ----------------------------------------------------------------------------------------------------------

absl::StatusOr<uint64_t> DurationOf(std::string_view option, const std::string& text) {
  if (const auto ns = ParseDuration(text)) return *ns;
  return UsageError(fmt::format("{}: '{}' is not a duration: did you mean '{}'?", option,
                                Printable(text), NearestDuration(text)),
                    "durations are 30 (seconds), 30s, 2m, 1h, 500ms, 10us");
}

// "1%", "0.5%": a share of one core.
absl::StatusOr<double> ShareOf(std::string_view option, const std::string& text) {
  constexpr double kLeast = 0.01, kMost = 1000;
  double percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
  const std::string_view rest(end, text.data() + text.size() - end);
  const bool number = error == std::errc() && (rest.empty() || rest == "%");
  if (number && rest == "%" && percent >= kLeast && percent <= kMost) return percent / 100;
  return UsageError(fmt::format("{}: '{}' is not a share of a core: did you mean '{}%'?", option,
                                Printable(text), number ? std::clamp(percent, kLeast, kMost) : 1),
                    fmt::format("it is written as 1% or 0.5%; {}% to {}%", kLeast, kMost));
}

std::vector<std::string> SplitAtCommas(const std::vector<std::string>& lists) {
  std::vector<std::string> words;
  for (const std::string& list : lists) {
    size_t start = 0;
    while (true) {
      const size_t comma = list.find(',', start);
      words.push_back(list.substr(start, comma - start));
      if (comma == std::string::npos) break;
      start = comma + 1;
    }
  }
  return words;
}

absl::StatusOr<uint32_t> PidOf(const std::string& text) {
  uint32_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  // Pids are positive ints.
  if (error == std::errc() && end == text.data() + text.size() && pid > 0 && pid <= 0x7fffffff)
    return pid;
  if (!text.empty() && text.find_first_not_of('0') == std::string::npos) {
    return UsageError("-p: 0 is no process, it is the kernel's idle task",
                      "find the process: pgrep -a NAME; or record everything: -a");
  }
  return UsageError(fmt::format("-p: '{}' is not a process id", Printable(text)),
                    text.find_first_not_of("-0123456789") == std::string::npos
                        ? "name them as -p 4242 or -p 4242,4243; find them: pgrep -a NAME"
                        : fmt::format("find it: pgrep -a {0}; or record by name: --comm {0}",
                                      ShellQuoted(Printable(text))));
}

absl::StatusOr<std::vector<uint32_t>> PidsOf(const std::vector<std::string>& lists) {
  std::vector<uint32_t> pids;
  for (const std::string& word : SplitAtCommas(lists)) {
    auto pid = PidOf(word);
    if (!pid.ok()) return pid.status();
    if (std::find(pids.begin(), pids.end(), *pid) == pids.end()) pids.push_back(*pid);
  }
  return pids;
}

absl::StatusOr<std::vector<std::string>> EventsOf(const std::vector<std::string>& lists) {
  std::vector<std::string> events;
  const std::vector<std::string> known = EventNames();
  for (const std::string& word : SplitAtCommas(lists)) {
    if (std::find(known.begin(), known.end(), word) == known.end()) {
      return UsageError(fmt::format("unknown event '{}': did you mean '{}'?", Printable(word),
                                    Nearest(word, known)),
                        fmt::format("events: {}", Joined(known, ", ")));
    }
    if (std::find(events.begin(), events.end(), word) == events.end()) events.push_back(word);
  }
  return events;
}

absl::StatusOr<std::optional<Format>> FormatOption(const std::string& name) {
  if (name.empty()) return std::optional<Format>();
  if (const auto format = FormatNamed(name)) return format;
  const std::vector<std::string> names = FormatNames();
  return UsageError(
      fmt::format("unknown format '{}': did you mean '{}'?", Printable(name), Nearest(name, names)),
      fmt::format("formats: {}", Joined(names, ", ")));
}

// The last ".ending" of the file's name, or "".
std::string EndingOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const size_t name = slash == std::string::npos ? 0 : slash + 1;
  const size_t dot = path.rfind('.');
  return dot == std::string::npos || dot < name ? "" : path.substr(dot + 1);
}

// "pprof" of "pb.gz".
std::string NameOfEnding(const std::string& ending) {
  for (const std::string& name : FormatNames()) {
    if (FormatEnding(*FormatNamed(name)) == ending) return name;
  }
  return ending;
}

// "gz", "pb" and "pprof" give "pb.gz".
std::string NearestEnding(const std::string& ending) {
  if (const auto format = FormatNamed(ending)) return FormatEnding(*format);
  const std::vector<std::string> endings = FormatEndings();
  for (const std::string& known : endings) {
    if (ending.size() > 1 && known.find(ending) != std::string::npos) return known;
  }
  return Nearest(ending, endings);
}

absl::StatusOr<Output> OutputOf(const std::string& path, std::optional<Format> format) {
  if (path.empty())
    return UsageError("-o: the name of the file is empty", "name one: -o out.html; - is stdout");
  if (IsStdout(path)) return Output{"-", format.value_or(Format::kFolded), ""};
  if (const auto by_ending = FormatOfPath(path)) return Output{path, *by_ending, ""};
  if (format) return Output{path, *format, ""};
  const std::string ending = EndingOf(path);
  const std::string nearest = ending.empty() ? "html" : NearestEnding(ending);
  const std::string stem = ending.empty() ? path : path.substr(0, path.size() - ending.size() - 1);
  return UsageError(fmt::format("unknown format of '{}': did you mean '{}.{}'?", Printable(path),
                                Printable(stem), nearest),
                    fmt::format("endings: .{}; or name the format: -f {}",
                                Joined(FormatEndings(), " ."), NameOfEnding(nearest)));
}

absl::StatusOr<std::vector<Output>> OutputsOf(const std::vector<std::string>& paths,
                                              std::optional<Format> format) {
  std::vector<Output> outputs;
  for (const std::string& path : paths) {
    auto output = OutputOf(path, format);
    if (!output.ok()) return output.status();
    for (const Output& other : outputs) {
      if (other.path == output->path) {
        return UsageError(fmt::format("-o {} is given twice", Printable(path)),
                          "give each file once");
      }
    }
    outputs.push_back(*std::move(output));
  }
  return outputs;
}

// A pattern that matches `text` literally.
std::string LiteralPattern(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (std::string_view("\\.+*?()|[]{}^$").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

// Each expression alone, so that the error can offer a mended one.
absl::Status CheckExpressions(std::string_view option,
                              const std::vector<std::string>& expressions) {
  for (const std::string& expression : expressions) {
    auto filter = FrameFilter::Create({expression}, {});
    if (filter.ok()) continue;
    // The message is "-I EXPRESSION: why".
    std::string why(filter.status().message());
    const std::string prefix = fmt::format("-I {}: ", expression);
    if (why.compare(0, prefix.size(), prefix) == 0) why.erase(0, prefix.size());
    return UsageError(fmt::format("{}: '{}' is not a regular expression ({})", option,
                                  Printable(expression), Printable(why)),
                      fmt::format("to match it literally: {} {}", option,
                                  ShellQuoted(LiteralPattern(Printable(expression)))));
  }
  return absl::OkStatus();
}

// --- options that commands share
// -------------------------------------------------------------------------------------

// One value a mention; may be mentioned again.
CLI::Option* AddRepeatable(CLI::App& app, const std::string& name, std::vector<std::string>& into) {
  return app.add_option(name, into)->type_size(1)->allow_extra_args(false);
}

// One value; mentioned once.
CLI::Option* AddSingle(CLI::App& app, const std::string& name, std::string& into) {
  return app.add_option(name, into)->multi_option_policy(CLI::MultiOptionPolicy::Throw);
}

void AddFlag(CLI::App& app, const std::string& name, bool& into) {
  app.add_flag(name, into)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void AddView(CLI::App& app, ProfileOptions& view) {
  AddFlag(app, "--idle", view.idle);
  AddFlag(app, "--reason-root", view.reason_root);
  AddFlag(app, "--created-by", view.created_by);
  AddFlag(app, "--kernel", view.kernel_only);
  AddFlag(app, "--user", view.user_only);
  AddRepeatable(app, "-I", view.include);
  AddRepeatable(app, "-X", view.exclude);
}

absl::Status CheckView(const ProfileOptions& view) {
  if (view.kernel_only && view.user_only) {
    return UsageError("--kernel and --user exclude each other",
                      "leave out one of them; without either both are shown");
  }
  if (auto status = CheckExpressions("-I", view.include); !status.ok()) return status;
  return CheckExpressions("-X", view.exclude);
}

// What was given to an option, as `read` understands it, goes into `into`; not given, that stays.
template <typename Read, typename Value>
absl::Status TakeOption(const CLI::App& app, const std::string& option, const std::string& text,
                        const Read& read, Value& into) {
  if (app.count(option) == 0) return absl::OkStatus();
  auto value = read(option, text);
  if (!value.ok()) return value.status();
  into = *std::move(value);
  return absl::OkStatus();
}

absl::Status TakeDuration(const CLI::App& app, const std::string& option, const std::string& text,
                          uint64_t& into_ns) {
  return TakeOption(app, option, text, DurationOf, into_ns);
}

absl::Status TakeBudget(const CLI::App& app, const std::string& text, double& into) {
  return TakeOption(app, "--budget", text, ShareOf, into);
}

// The one process that a command is about.
absl::StatusOr<uint32_t> NeededPid(const CLI::App& app, const std::string& command,
                                   const std::string& text) {
  if (app.count("-p") > 0) return PidOf(text);
  return UsageError(fmt::format("{} what? No process is given", command),
                    fmt::format("name it: stallscope {} -p PID", command));
}

// --- parsing
// ---------------------------------------------------------------------------------------------------------

std::vector<std::string> OptionNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

absl::Status RefuseUnknown(const CLI::App& app, const std::string& command) {
  for (const std::string& word : app.remaining()) {
    const std::string remedy = fmt::format("stallscope {} --help lists the options", command);
    if (word.size() > 1 && word.front() == '-') {
      const std::string name = word.substr(0, word.find('='));
      return UsageError(fmt::format("unknown option '{}': did you mean '{}'?", Printable(name),
                                    Nearest(name, OptionNames(app))),
                        remedy);
    }
    const bool number = word.find_first_not_of("0123456789") == std::string::npos;
    return UsageError(fmt::format("unexpected word '{}'", Printable(word)),
                      command == "record" && number
                          ? "several processes are joined by commas: -p 4242,4243"
                      : command == "record"
                          ? fmt::format("to run a command and record it: stallscope record -- {}",
                                        ShellQuoted(Printable(word)))
                          : remedy);
  }
  return absl::OkStatus();
}

// The option that CLI11's message is about: its first word that starts with a dash.
std::string OptionInMessage(const std::string& message) {
  const size_t dash = message.find('-');
  if (dash == std::string::npos) return "";
  return message.substr(dash, message.find_first_of(" :,", dash) - dash);
}

// The error for an option of one value that has several; OK when there is none.
absl::Status RefuseSecondValues(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    const bool single = option->get_multi_option_policy() == CLI::MultiOptionPolicy::Throw;
    if (!single || option->count() < 2) continue;
    const std::string name = option->get_snames().empty() ? "--" + option->get_lnames().front()
                                                          : "-" + option->get_snames().front();
    std::vector<std::string> values;
    for (const std::string& value : option->results())
      values.push_back(fmt::format("'{}'", Printable(value)));
    return UsageError(
        fmt::format("{} is given {}: {}", name, values.size() == 2 ? "twice" : "more than once",
                    Joined(values, ", ")),
        fmt::format("it takes one value: leave out the other {}", name));
  }
  return absl::OkStatus();
}

// Splits `words` by the options of `app`. CLI11 throws; nothing above this function sees that.
absl::Status Split(CLI::App& app, const std::string& command,
                   const std::vector<std::string>& words) {
  app.allow_extras();
  std::string remedy = fmt::format("stallscope {} --help says how it is used", command);
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::ArgumentMismatch& error) {
    if (auto status = RefuseSecondValues(app); !status.ok()) return status;
    const std::string option = OptionInMessage(error.what());
    return UsageError(fmt::format("{} needs a value", option.empty() ? command : option), remedy);
  } catch (const CLI::ParseError& error) {
    return UsageError(fmt::format("{}: {}", command, error.what()), remedy);
  }
  return RefuseUnknown(app, command);
}

struct TargetWords {
  std::vector<std::string> pids;
  std::string comm, cgroup;
  bool all = false;
};

constexpr std::string_view kTargetRemedy =
    "name one: -p PID, --comm NAME, --cgroup PATH, -a (everything), or -- CMD ARGS...";
constexpr std::string_view kNetTargetRemedy = "name one: -p PID, --cgroup PATH, or -a (everything)";

// `names`: the options of the command that name targets.
absl::StatusOr<TargetSelector> TargetOf(const CLI::App& app, const std::vector<std::string>& names,
                                        const TargetWords& words,
                                        const std::optional<std::vector<std::string>>& command,
                                        const absl::Status& none) {
  std::vector<std::string> given;
  for (const std::string& name : names) {
    if (app.count(name) > 0) given.push_back(name);
  }
  if (command) given.push_back("--");
  if (given.empty()) return none;
  if (given.size() > 1) {
    return UsageError(fmt::format("{} exclude each other", Joined(given, " and ")),
                      "one recording has one kind of target");
  }
  TargetSelector target;
  if (given[0] == "-p") {
    auto pids = PidsOf(words.pids);
    if (!pids.ok()) return pids.status();
    target.kind = TargetSelector::Kind::kPids;
    target.pids = *std::move(pids);
  } else if (given[0] == "--comm") {
    if (words.comm.empty()) return UsageError("--comm: the name is empty", kTargetRemedy);
    target.kind = TargetSelector::Kind::kComm;
    target.comm = words.comm.substr(0, 15);
  } else if (given[0] == "--cgroup") {
    if (words.cgroup.empty()) return UsageError("--cgroup: the path is empty", kTargetRemedy);
    target.kind = TargetSelector::Kind::kCgroup;
    target.cgroup = words.cgroup;
  } else if (given[0] == "-a") {
    target.kind = TargetSelector::Kind::kAll;
  } else {
    if (command->empty())
      return UsageError("there is no command after --", "stallscope record -- CMD ARGS...");
    if (command->front().empty()) {
      return UsageError("the command after -- is the empty word ''",
                        "name it: stallscope record -- CMD ARGS...; is a variable empty there?");
    }
    target.kind = TargetSelector::Kind::kCommand;
    target.command = *command;
  }
  return target;
}

absl::StatusOr<uint32_t> StacksOf(std::string_view option, const std::string& text) {
  constexpr uint32_t kFewest = 64, kMost = 1u << 22;
  uint32_t stacks = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), stacks);
  if (error == std::errc() && end == text.data() + text.size() && stacks >= kFewest &&
      stacks <= kMost)
    return stacks;
  return UsageError(
      fmt::format("{}: '{}' is not a number of stacks: did you mean '{}'?", option, Printable(text),
                  error == std::errc() ? std::clamp(stacks, kFewest, kMost) : kDefaultStacks),
      fmt::format("{} to {}; each takes about 1 KiB of kernel memory", kFewest, kMost));
}

absl::StatusOr<Command> ParseRecord(std::vector<std::string> words) {
  // What follows -- is not ours to read.
  std::optional<std::vector<std::string>> command;
  if (const auto dashes = std::find(words.begin(), words.end(), "--"); dashes != words.end()) {
    command.emplace(dashes + 1, words.end());
    words.erase(dashes, words.end());
  }

  RecordOptions options;
  TargetWords target;
  std::vector<std::string> events, paths;
  std::string duration, format, min, max, stacks, budget;
  bool help = false;
  CLI::App app;
  app.set_help_flag();
  AddFlag(app, "-h,--help", help);
  AddRepeatable(app, "-p,--pid", target.pids);
  AddSingle(app, "--comm", target.comm);
  AddSingle(app, "--cgroup", target.cgroup);
  AddFlag(app, "-a,--all", target.all);
  AddRepeatable(app, "-e,--event", events);
  AddSingle(app, "-d,--duration", duration);
  AddRepeatable(app, "-o,--output", paths);
  AddSingle(app, "-f,--format", format);
  AddSingle(app, "--min", min);
  AddSingle(app, "--max", max);
  AddFlag(app, "--children", options.children);
  AddFlag(app, "--threads", options.threads);
  AddView(app, options.view);
  AddFlag(app, "--peers", options.view.peers);
  AddSingle(app, "--stacks", stacks);
  AddSingle(app, "--budget", budget);
  AddFlag(app, "--exact", options.exact);
  AddFlag(app, "--strict", options.strict);
  AddFlag(app, "-q,--quiet", options.quiet);
  AddFlag(app, "-v,--verbose", options.verbose);
  AddFlag(app, "--json", options.json);
  if (auto status = Split(app, "record", words); !status.ok()) return status;
  if (help) return HelpRequest{HelpText("record")};

  auto selector = TargetOf(app, {"-p", "--comm", "--cgroup", "-a"}, target, command,
                           UsageError("record what? No target is given", kTargetRemedy));
  if (!selector.ok()) return selector.status();
  options.target = *std::move(selector);

  if (app.count("-e") > 0) {
    auto names = EventsOf(events);
    if (!names.ok()) return names.status();
    options.events = *std::move(names);
  }
  const bool goroutines =
      std::find(options.events.begin(), options.events.end(), "goroutine") != options.events.end();
  if (goroutines && options.target.kind == TargetSelector::Kind::kAll) {
    return UsageError("-a and -e goroutine: goroutines are read program by program",
                      "name the programs: -p PID, --comm NAME or --cgroup PATH");
  }
  const bool no_goroutines =
      !goroutines && (!options.events.empty() || options.target.kind == TargetSelector::Kind::kAll);
  if (options.exact && no_goroutines) {
    return UsageError("--exact is of goroutines, and they are not recorded here",
                      "-p PID -e goroutine --exact, or leave it out");
  }
  options.duration_given = app.count("-d") > 0;
  for (const auto& [option, text, into_ns] :
       {std::tuple("-d", &duration, &options.duration_ns),
        std::tuple("--min", &min, &options.min_ns), std::tuple("--max", &max, &options.max_ns)}) {
    if (auto status = TakeDuration(app, option, *text, *into_ns); !status.ok()) return status;
  }
  if (options.max_ns == 0 || options.min_ns > options.max_ns) {
    return UsageError(
        fmt::format("no wait is between --min {} and --max {}", min.empty() ? "0" : min, max),
        "--max is the longer of the two");
  }
  if (auto status = TakeOption(app, "--stacks", stacks, StacksOf, options.stacks); !status.ok())
    return status;
  if (auto status = TakeBudget(app, budget, options.budget); !status.ok()) return status;
  auto chosen = FormatOption(format);
  if (!chosen.ok()) return chosen.status();
  options.format = *chosen;
  auto outputs = OutputsOf(paths, options.format);
  if (!outputs.ok()) return outputs.status();
  options.outputs = *std::move(outputs);
  for (const Output& output : options.outputs) {
    if (options.json && output.path == "-") {
      return UsageError("--json and -o - both want stdout", "give -o a file, or leave out --json");
    }
  }
  if (auto status = CheckView(options.view); !status.ok()) return status;
  return options;
}

absl::StatusOr<Command> ParseConvert(const std::vector<std::string>& words) {
  ConvertOptions options;
  std::vector<std::string> paths;
  std::string format;
  bool help = false;
  CLI::App app;
  app.set_help_flag();
  AddFlag(app, "-h,--help", help);
  app.add_option("IN", options.input);
  AddRepeatable(app, "-o,--output", paths);
  AddSingle(app, "-f,--format", format);
  AddView(app, options.view);
  AddFlag(app, "--peers", options.view.peers);
  AddFlag(app, "--resymbolize", options.resymbolize);
  AddFlag(app, "-q,--quiet", options.quiet);
  if (auto status = Split(app, "convert", words); !status.ok()) return status;
  if (help) return HelpRequest{HelpText("convert")};

  if (options.input.empty()) {
    return UsageError("convert what? No capture is given", "stallscope convert IN.raw -o OUT.html");
  }
  auto chosen = FormatOption(format);
  if (!chosen.ok()) return chosen.status();
  auto outputs = OutputsOf(paths, *chosen);
  if (!outputs.ok()) return outputs.status();
  options.outputs = *std::move(outputs);
  if (options.outputs.empty()) {
    return UsageError(
        "convert to what? No output is given",
        fmt::format("name one: -o OUT.html; endings: .{}", Joined(FormatEndings(), " .")));
  }
  if (auto status = CheckView(options.view); !status.ok()) return status;
  return options;
}

absl::StatusOr<Command> ParseDump(const std::vector<std::string>& words) {
  DumpOptions options;
  std::string pid;
  bool help = false;
  CLI::App app;
  app.set_help_flag();
  AddFlag(app, "-h,--help", help);
  AddSingle(app, "-p,--pid", pid);
  AddFlag(app, "--all", options.all);
  AddFlag(app, "--idle", options.idle);
  AddSingle(app, "-o,--output", options.output);
  AddFlag(app, "--json", options.json);
  if (auto status = Split(app, "dump", words); !status.ok()) return status;
  if (help) return HelpRequest{HelpText("dump")};
  auto number = NeededPid(app, "dump", pid);
  if (!number.ok()) return number.status();
  options.pid = *number;
  if (app.count("-o") == 0) return options;
  if (options.output.empty())
    return UsageError("-o: the name of the file is empty", "name one: -o dump.txt");
  if (options.output == "-") {
    options.output.clear();
    return options;
  }
  const std::string ending = EndingOf(options.output);
  if (ending == "json") options.json = true;
  options.raw = ending == "raw";
  if (ending != "json" && ending != "txt" && !options.raw && !options.json) {
    return UsageError(fmt::format("unknown format of '{}': did you mean '{}.txt'?",
                                  Printable(options.output), Printable(options.output)),
                      "endings: .txt .json .raw");
  }
  return options;
}

absl::StatusOr<Command> ParseDiff(const std::vector<std::string>& words) {
  constexpr std::string_view kUsage = "stallscope diff BEFORE.raw AFTER.raw";
  DiffOptions options;
  std::vector<std::string> paths;
  bool help = false;
  CLI::App app;
  app.set_help_flag();
  AddFlag(app, "-h,--help", help);
  app.add_option("CAPTURES", options.inputs);
  AddRepeatable(app, "-o,--output", paths);
  AddRepeatable(app, "-I", options.view.include);
  AddRepeatable(app, "-X", options.view.exclude);
  AddFlag(app, "-q,--quiet", options.quiet);
  if (auto status = Split(app, "diff", words); !status.ok()) return status;
  if (help) return HelpRequest{HelpText("diff")};

  if (options.inputs.empty()) {
    return UsageError("diff of what? No captures are given", kUsage);
  }
  if (options.inputs.size() == 1) {
    return UsageError(fmt::format("there is only '{}' to compare", Printable(options.inputs[0])),
                      kUsage);
  }
  if (std::count(options.inputs.begin(), options.inputs.end(), "-") > 1) {
    return UsageError("stdin (-) can be read once", kUsage);
  }
  for (const std::string& path : paths) {
    const auto format = FormatOfPath(path);
    if (IsStdout(path) || format == Format::kFolded) {
      options.outputs.push_back({path, Format::kFolded, ""});
      continue;
    }
    const size_t dot = format ? path.rfind('.') : path.size();
    return UsageError(fmt::format("diff does not write '{}': did you mean '{}.folded'?",
                                  Printable(path), Printable(path.substr(0, dot))),
                      "the ending is .folded (two columns, for flamegraph.pl); - is stdout");
  }
  if (auto status = CheckView(options.view); !status.ok()) return status;
  return options;
}

absl::StatusOr<Command> ParseTop(const std::vector<std::string>& words) {
  TopOptions options;
  std::string pid, interval, duration, budget;
  bool help = false;
  CLI::App app;
  app.set_help_flag();
  AddFlag(app, "-h,--help", help);
  AddSingle(app, "-p,--pid", pid);
  AddSingle(app, "-i,--interval", interval);
  AddSingle(app, "-d,--duration", duration);
  AddSingle(app, "--budget", budget);
  AddFlag(app, "--idle", options.idle);
  if (auto status = Split(app, "top", words); !status.ok()) return status;
  if (help) return HelpRequest{HelpText("top")};
  auto number = NeededPid(app, "top", pid);
  if (!number.ok()) return number.status();
  options.pid = *number;
  if (auto status = TakeDuration(app, "-i", interval, options.interval_ns); !status.ok())
    return status;
  constexpr uint64_t kShortestNs = 200'000'000;
  if (options.interval_ns < kShortestNs) {
    return UsageError(fmt::format("-i: {} is too short: did you mean '200ms'?", interval),
                      "a table stands for at least four snapshots: 200ms");
  }
  if (auto status = TakeDuration(app, "-d", duration, options.duration_ns); !status.ok())
    return status;
  if (auto status = TakeBudget(app, budget, options.budget); !status.ok()) return status;
  return options;
}

absl::StatusOr<Command> ParseNet(const std::vector<std::string>& words) {
  NetOptions options;
  TargetWords target;
  std::string duration, stacks;
  bool help = false;
  CLI::App app;
  app.set_help_flag();
  AddFlag(app, "-h,--help", help);
  AddRepeatable(app, "-p,--pid", target.pids);
  AddSingle(app, "--cgroup", target.cgroup);
  AddFlag(app, "-a,--all", target.all);
  AddSingle(app, "-d,--duration", duration);
  AddSingle(app, "--stacks", stacks);
  AddFlag(app, "-q,--quiet", options.quiet);
  AddFlag(app, "-v,--verbose", options.verbose);
  AddFlag(app, "--json", options.json);
  if (auto status = Split(app, "net", words); !status.ok()) return status;
  if (help) return HelpRequest{HelpText("net")};
  auto selector = TargetOf(app, {"-p", "--cgroup", "-a"}, target, std::nullopt,
                           UsageError("net of what? No target is given", kNetTargetRemedy));
  if (!selector.ok()) return selector.status();
  options.target = *std::move(selector);
  if (auto status = TakeDuration(app, "-d", duration, options.duration_ns); !status.ok())
    return status;
  if (auto status = TakeOption(app, "--stacks", stacks, StacksOf, options.stacks); !status.ok())
    return status;
  return options;
}

// doctor and list take the same words.
template <typename Options>
absl::StatusOr<Command> ParseLook(const std::string& command,
                                  const std::vector<std::string>& words) {
  Options options;
  std::string pid;
  bool help = false;
  CLI::App app;
  app.set_help_flag();
  AddFlag(app, "-h,--help", help);
  AddSingle(app, "-p,--pid", pid);
  AddFlag(app, "--json", options.json);
  if (auto status = Split(app, command, words); !status.ok()) return status;
  if (help) return HelpRequest{HelpText(command)};
  if (app.count("-p") > 0) {
    auto number = PidOf(pid);
    if (!number.ok()) return number.status();
    options.pid = *number;
  }
  return options;
}

constexpr std::string_view kProgramHelp =
    R"(stallscope: where does a running program wait, on whom, and why?

usage:
  stallscope record  -p PID                watch a process for 30 s, write a flame graph of its waits
  stallscope dump    -p PID                every goroutine (or thread) now: its wait and its stack
  stallscope top     -p PID                where goroutines wait, live
  stallscope net     -p PID                TCP connections by peer and code path: latency, failures, loss, reuse
  stallscope convert IN.raw -o OUT.html    a capture to any output format
  stallscope diff    BEFORE.raw AFTER.raw  what got longer, what got shorter, what there is more of
  stallscope doctor  [-p PID]              what this machine lacks, what that costs, how to mend it
  stallscope list                          each event, its hooks, and what would serve it here

  stallscope COMMAND --help                the options of a command
  stallscope --version

exit codes: 0 done, 1 failed, 2 usage, 3 this machine lacks something, 4 the target is gone or does not fit,
            5 too much was lost (--strict), 130 abandoned
)";

constexpr std::string_view kRecordHelp =
    R"(stallscope record: attach to running programs, see where they wait

usage: stallscope record (-p PID[,PID...] | --comm NAME | --cgroup PATH | -a | -- CMD ARGS...) [options]

who:
  -p PID[,PID...]      these processes
  --comm NAME          every process of that name (as in ps -o comm)
  --cgroup PATH        every process of a cgroup and those below it
  -a                   everything
  -- CMD ARGS...       run a command and record it
  --children           also processes that a target starts

what:
  -e EVENT[,EVENT...]  goroutine: where goroutines wait (the default for a Go program; nothing is attached to it)
                       offcpu: threads that leave the CPU, and the time they are blocked (the default for all others)
                       tcp: connections opened and accepted: how long that took, on whose stack, or why it failed
                       retrans: segments sent again, on the stack that opened the connection
                       epoll: epoll_wait, poll and select: time in the call, events, how often none; and the event loops
  -d DURATION          30, 30s, 2m, 1h, 500ms; default 30s; 0 is until Ctrl-C
  --min D, --max D     only waits that last from D to D (10us, 5ms, 1s)
  --threads            keep each thread apart
  --budget SHARE       of one core, what snapshots of goroutines, or --exact, may take (default 1%)
  --exact              measure each wait of goroutines, by a uprobe in the program, not estimate from snapshots;
                       refused where goroutines change state so often that it would cost more than --budget
  --stacks N           distinct stacks that the kernel side holds at a time (default 16384, about 1 KiB each)

output:
  -o FILE              by its ending: .folded .html .json .pb.gz (pprof) .raw (a capture for convert); repeatable;
                       - is stdout
                       without -o: stallscope-<comm>-<pid>-<UTC time>.html and .folded
  -f FORMAT            folded, html, json, pprof or raw, for a file without such an ending
  -I RE, -X RE         keep, or drop, stacks with a frame that matches; repeatable
  --kernel, --user     kernel frames only, or user frames only
  --idle               show what is idle by design too: goroutines, and Go's idle threads whole
  --reason-root        the reason of the wait at the root instead of the leaf
  --peers              whom a goroutine waits for, or a connection is to, after the reason: [IO wait 10.0.0.5:443]
  --created-by         where a goroutine was started, as its root frames
  --json               the summary as one JSON object on stdout
  --strict             exit 5 when over 1 % of an event was lost
  -q, -v               say less; say more

examples:
  sudo stallscope record -p $(pidof etcd)
  sudo stallscope record -p 4242 -d 10s -o waits.html -o waits.raw
  sudo stallscope record --comm nginx --min 1ms -o - | flamegraph.pl > waits.svg
)";

constexpr std::string_view kDumpHelp =
    R"(stallscope dump: every goroutine of a Go program now: state, reason, stack, who created it; no debug port needed

usage: stallscope dump -p PID [options]

  -p PID               the process; of one that is not Go its threads are shown
  --all                each goroutine by itself, as in Go's debug=2; else equal ones are a group with a count
  --idle               also those that are idle by design: servers that wait for requests, the runtime's own
  -o FILE              .txt or .json instead of stdout; .raw is a capture, for stallscope diff and convert
  --json               one JSON object, every goroutine by itself

The process is not stopped and nothing is attached to it: goroutines are read from its memory.

exit codes: 0 done, 3 this machine lacks something, 4 the process is gone or does not fit

example:
  sudo stallscope dump -p $(pidof etcd)
)";

constexpr std::string_view kTopHelp =
    R"(stallscope top: where the goroutines of a Go program wait now, as a table that is made again and again

usage: stallscope top -p PID [options]

  -p PID               the process
  -i DURATION          how long one table stands for (default 1s)
  -d DURATION          when to stop; default: at Ctrl-C
  --budget SHARE       of one core, what snapshots may take (default 1%)
  --idle               also what is idle by design

A row is a reason and a site: how many goroutines waited there on average, how many more or fewer than in the table
before, and their share. Where stdout is no terminal, each table is printed below the one before.

exit codes: 0 done, 3 this machine lacks something, 4 the process is gone or does not fit

example:
  sudo stallscope top -p $(pidof etcd)
)";

constexpr std::string_view kNetHelp =
    R"(stallscope net: TCP connections by peer and by the code path that opened them, and what stands out

usage: stallscope net (-p PID[,PID...] | --cgroup PATH | -a) [options]

  -p PID[,PID...]      these processes
  --cgroup PATH        every process of a cgroup and those below it
  -a                   everything, by process: cheap, without stacks
  -d DURATION          30, 30s, 2m, 1h, 500ms; default 10s; 0 is until Ctrl-C
  --stacks N           distinct stacks that the kernel side holds at a time (default 16384, about 1 KiB each)
  --json               one JSON object on stdout, every row
  -q, -v               say less; say more

A row is a role (opened, accepted), a peer and a path: how many connections, how many failed and why, how long they
took to connect, or waited to be accepted (p50, p99, the longest; within 1.6 %), how long first bytes took, segments
sent again and their share, turns of a connection, who closed it first. n/a: not measured here; -: there was none.
Below: event loops (not with -a), and findings, in plain words, when a rule fires.

exit codes: 0 done, 1 the run failed, 2 usage, 3 this machine lacks something, 4 the process is gone or does not fit

examples:
  sudo stallscope net -p $(pidof nginx | tr ' ' ,)
  sudo stallscope net -a -d 30s --json
)";

constexpr std::string_view kConvertHelp =
    R"(stallscope convert: a capture to any output format, without root and without the target

usage: stallscope convert IN -o OUT [options]

  IN                   a .raw capture of stallscope record
  -o FILE              by its ending: .folded .html .json .pb.gz (pprof) .raw; repeatable; - is stdout
  -f FORMAT            folded, html, json, pprof or raw, for a file without such an ending
  -I RE, -X RE         keep, or drop, stacks with a frame that matches; repeatable
  --kernel, --user     kernel frames only, or user frames only
  --idle               show Go's idle threads whole, not one line a group
  --reason-root        the reason of the wait at the root instead of the leaf
  --peers              whom a goroutine waits for, after its reason: [IO wait 10.0.0.5:443]
  --created-by         where a goroutine was started, as its root frames
  --resymbolize        look names up again in the files of this machine whose build id matches
  -q                   only errors

example:
  stallscope convert waits.raw -o waits.html -X '\[sleep\]'
)";

constexpr std::string_view kDiffHelp =
    R"(stallscope diff: what changed between captures: which waits got longer or shorter, of which goroutines there are more

usage: stallscope diff BEFORE AFTER [MORE...] [options]

  BEFORE, AFTER...     .raw captures, in the order of time; of more than two, what never shrank counts as grown
  -o FILE              .folded: BEFORE and AFTER (the last one) in two columns, as flamegraph.pl draws them; - is stdout
  -I RE, -X RE         keep, or drop, stacks with a frame that matches; repeatable
  -q                   with -o: only errors

Times are per second of recording, so that the two may be of any length.

example:
  stallscope diff monday.raw tuesday.raw -o - | flamegraph.pl > diff.svg
)";

constexpr std::string_view kDoctorHelp =
    R"(stallscope doctor: each requirement: ok, degraded or missing; what it costs; how to mend it

usage: stallscope doctor [-p PID] [--json]

  -p PID               also what a recording of this process would meet
  --json               one object on stdout

exit codes: 0 offcpu, tcp, retrans and epoll can be recorded here, 3 it cannot, 4 the process is gone or does not fit
)";

constexpr std::string_view kListHelp =
    R"(stallscope list: each event: its hooks, and the mechanism that would serve it here

usage: stallscope list [-p PID] [--json]

  -p PID               for this process
  --json               one object on stdout
)";

}  // namespace

std::vector<std::string> EventNames() { return {"offcpu", "goroutine", "tcp", "retrans", "epoll"}; }

std::string HelpText(std::string_view command) {
  if (command == "record") return std::string(kRecordHelp);
  if (command == "convert") return std::string(kConvertHelp);
  if (command == "diff") return std::string(kDiffHelp);
  if (command == "dump") return std::string(kDumpHelp);
  if (command == "top") return std::string(kTopHelp);
  if (command == "net") return std::string(kNetHelp);
  if (command == "doctor") return std::string(kDoctorHelp);
  if (command == "list") return std::string(kListHelp);
  return std::string(kProgramHelp);
}

absl::StatusOr<Command> ParseCommandLine(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    return UsageError("no command is given",
                      "start with: stallscope record -p PID; or read: stallscope --help");
  }
  const std::string& first = arguments[0];
  const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
  if (first == "record") return ParseRecord(rest);
  if (first == "convert") return ParseConvert(rest);
  if (first == "diff") return ParseDiff(rest);
  if (first == "dump") return ParseDump(rest);
  if (first == "top") return ParseTop(rest);
  if (first == "net") return ParseNet(rest);
  if (first == "doctor") return ParseLook<DoctorOptions>("doctor", rest);
  if (first == "list") return ParseLook<ListOptions>("list", rest);
  if (first == "--help" || first == "-h") return HelpRequest{HelpText("")};
  if (first == "--version") return VersionRequest{};
  if (!first.empty() && first.front() == '-') {
    return UsageError(fmt::format("unknown option '{}': did you mean '{}'?", Printable(first),
                                  Nearest(first, {"--help", "--version"})),
                      "a command comes first: stallscope record -p PID");
  }
  return UsageError(fmt::format("unknown command '{}': did you mean '{}'?", Printable(first),
                                Nearest(first, CommandNames())),
                    fmt::format("commands: {}", Joined(CommandNames(), ", ")));
}

}  // namespace stallscope
