// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "userspace/cli/words.h"

namespace stallscope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;
using Words = std::vector<std::string>;

RecordOptions Record(Words words) {
  words.insert(words.begin(), "record");
  auto command = ParseCommandLine(words);
  EXPECT_TRUE(command.ok()) << command.status();
  if (!command.ok() || !std::holds_alternative<RecordOptions>(*command)) {
    ADD_FAILURE() << "not a recording";
    return {};
  }
  return std::get<RecordOptions>(*command);
}

// The two lines of a refusal; fails the test when the words are taken or the exit code is not 2.
Words Refusal(const Words& words) {
  const auto command = ParseCommandLine(words);
  EXPECT_FALSE(command.ok()) << "was taken";
  if (command.ok()) return {"", ""};
  EXPECT_EQ(ExitCodeOf(command.status()), kExitUsage);
  const std::string message(command.status().message());
  const size_t end = message.find('\n');
  EXPECT_NE(end, std::string::npos) << message;
  if (end == std::string::npos) return {message, ""};
  EXPECT_EQ(message.find('\n', end + 1), std::string::npos) << "more than two lines: " << message;
  return {message.substr(0, end), message.substr(end + 1)};
}

TEST(Options, DefaultsOfARecording) {
  const RecordOptions options = Record({"-p", "4242"});
  EXPECT_EQ(options.target.kind, TargetSelector::Kind::kPids);
  EXPECT_THAT(options.target.pids, ElementsAre(4242));
  EXPECT_TRUE(options.events.empty());
  EXPECT_EQ(options.duration_ns, 30'000'000'000u);
  EXPECT_FALSE(options.duration_given);
  EXPECT_TRUE(options.outputs.empty());
  EXPECT_EQ(options.min_ns, 0u);
  EXPECT_EQ(options.max_ns, ~uint64_t{0});
  EXPECT_EQ(options.stacks, 16384u);
  EXPECT_FALSE(options.children || options.threads || options.strict || options.quiet ||
               options.verbose || options.json);
  EXPECT_FALSE(options.view.idle || options.view.reason_root || options.view.kernel_only ||
               options.view.user_only);
}

TEST(Options, EveryOptionOfARecording) {
  const RecordOptions options =
      Record({"-p",        "7,8,7",       "-p9",       "-e",     "offcpu",
              "-d",        "2m",          "-o",        "a.html", "-o",
              "b.raw",     "-o",          "-",         "--min",  "10us",
              "--max=5ms", "--children",  "--threads", "--idle", "--reason-root",
              "--kernel",  "-I",          "main\\.",   "-I",     "x",
              "-X",        "\\[sleep\\]", "--stacks",  "131072", "--strict",
              "-q",        "-v"});
  EXPECT_THAT(options.target.pids, ElementsAre(7, 8, 9));
  EXPECT_EQ(options.duration_ns, 120'000'000'000u);
  EXPECT_THAT(options.outputs,
              ElementsAre(Output{"a.html", Format::kHtml, ""}, Output{"b.raw", Format::kRaw, ""},
                          Output{"-", Format::kFolded, ""}));
  EXPECT_EQ(options.min_ns, 10'000u);
  EXPECT_EQ(options.max_ns, 5'000'000u);
  EXPECT_TRUE(options.children && options.threads && options.strict && options.quiet &&
              options.verbose);
  EXPECT_TRUE(options.view.idle && options.view.reason_root && options.view.kernel_only);
  EXPECT_THAT(options.view.include, ElementsAre("main\\.", "x"));
  EXPECT_THAT(options.view.exclude, ElementsAre("\\[sleep\\]"));
  EXPECT_EQ(options.stacks, 131072u);
}

TEST(Options, ExactIsOfGoroutines) {
  EXPECT_FALSE(Record({"-p", "1"}).exact);
  EXPECT_TRUE(Record({"-p", "1", "--exact"}).exact);
  EXPECT_TRUE(Record({"-p", "1", "-e", "offcpu,goroutine", "--exact"}).exact);
  EXPECT_DOUBLE_EQ(Record({"-p", "1", "--exact", "--budget", "250%"}).budget, 2.5);
  EXPECT_THAT(Refusal({"record", "-p", "1", "-e", "offcpu", "--exact"})[0],
              HasSubstr("--exact is of goroutines"));
  EXPECT_THAT(Refusal({"record", "-a", "--exact"})[1], HasSubstr("-e goroutine --exact"));
}

TEST(Options, OtherTargets) {
  EXPECT_EQ(Record({"-a"}).target.kind, TargetSelector::Kind::kAll);
  EXPECT_EQ(Record({"--cgroup", "/system.slice"}).target.cgroup, "/system.slice");
  // The kernel keeps 15 bytes of a name.
  EXPECT_EQ(Record({"--comm", "a-very-long-program"}).target.comm, "a-very-long-pro");
  const RecordOptions command = Record({"-d", "0", "--", "sh", "-c", "-p 1", "--", "-x"});
  EXPECT_EQ(command.target.kind, TargetSelector::Kind::kCommand);
  EXPECT_THAT(command.target.command, ElementsAre("sh", "-c", "-p 1", "--", "-x"));
  EXPECT_EQ(command.duration_ns, 0u);
  EXPECT_TRUE(command.duration_given);
}

TEST(Options, OneKindOfTarget) {
  const Words none = Refusal({"record"});
  EXPECT_THAT(none[0], HasSubstr("No target"));
  EXPECT_THAT(none[1], HasSubstr("-p PID"));
  EXPECT_EQ(Refusal({"record", "-p", "1", "-a"})[0], "-p and -a exclude each other");
  EXPECT_EQ(Refusal({"record", "-p", "1", "--", "true"})[0], "-p and -- exclude each other");
  EXPECT_EQ(Refusal({"record", "--"})[0], "there is no command after --");
}

TEST(Options, WrongWordsNameTheNearest) {
  EXPECT_EQ(Refusal({"record", "-p", "1", "-e", "ofcpu"})[0],
            "unknown event 'ofcpu': did you mean 'offcpu'?");
  EXPECT_EQ(Refusal({"record", "-p", "1", "-e", "offcpu,wall"})[1],
            "events: offcpu, goroutine, tcp, retrans, epoll");
  EXPECT_EQ(Refusal({"record", "-p", "1", "-f", "fold"})[0],
            "unknown format 'fold': did you mean 'folded'?");
  EXPECT_EQ(Refusal({"record", "-p", "1", "-o", "x.htm"})[0],
            "unknown format of 'x.htm': did you mean 'x.html'?");
  EXPECT_EQ(Refusal({"record", "-p", "1", "-o", "d.d/x"})[0],
            "unknown format of 'd.d/x': did you mean 'd.d/x.html'?");
  for (const char* path : {"x.gz", "x.pb", "x.pprof"}) {
    const Words words = Refusal({"record", "-p", "1", "-o", path});
    EXPECT_THAT(words[0], HasSubstr("did you mean 'x.pb.gz'?"));
    EXPECT_EQ(words[1], "endings: .folded .html .json .pb.gz .raw; or name the format: -f pprof");
  }
  EXPECT_EQ(Refusal({"record", "-p", "1", "-d", "10sec"})[0],
            "-d: '10sec' is not a duration: did you mean '10s'?");
  EXPECT_EQ(Refusal({"record", "-p", "1", "--min", "5msec"})[0],
            "--min: '5msec' is not a duration: did you mean '5ms'?");
  EXPECT_EQ(Refusal({"record", "-p", "1", "--chidren"})[0],
            "unknown option '--chidren': did you mean '--children'?");
  EXPECT_EQ(Refusal({"record", "-p", "1", "--max-wait=3"})[0].substr(0, 28),
            "unknown option '--max-wait':");
  EXPECT_EQ(Refusal({"recrod"})[0], "unknown command 'recrod': did you mean 'record'?");
  EXPECT_EQ(Refusal({"--verison"})[0], "unknown option '--verison': did you mean '--version'?");
  EXPECT_EQ(Refusal({"record", "-p", "1", "--stacks", "3"})[0],
            "--stacks: '3' is not a number of stacks: did you mean '64'?");
}

TEST(Options, WrongExpressionsOfferTheLiteral) {
  const Words refusal = Refusal({"record", "-p", "1", "-I", "ok", "-X", "std::map<int>("});
  EXPECT_THAT(refusal[0], StartsWith("-X: 'std::map<int>(' is not a regular expression ("));
  EXPECT_EQ(refusal[1], "to match it literally: -X 'std::map<int>\\('");
  // What is offered is taken.
  EXPECT_THAT(Record({"-p", "1", "-X", "std::map<int>\\("}).view.exclude,
              ElementsAre("std::map<int>\\("));
}

TEST(Options, WrongValues) {
  EXPECT_EQ(Refusal({"record", "-p", "etcd"})[0], "-p: 'etcd' is not a process id");
  EXPECT_THAT(Refusal({"record", "-p", "etcd"})[1], HasSubstr("pgrep -a etcd"));
  for (const char* pid : {"0", "-1", "1x", "", "1,", "4294967297", "2147483648"})
    Refusal({"record", "-p", pid});
  EXPECT_THAT(Refusal({"record", "-p", "12", "13"})[1], HasSubstr("-p 4242,4243"));
  EXPECT_THAT(Refusal({"record", "-p"})[0], HasSubstr("-p"));
  EXPECT_EQ(Refusal({"record", "-p", "1", "--kernel", "--user"})[0],
            "--kernel and --user exclude each other");
  EXPECT_EQ(Refusal({"record", "-p", "1", "--json", "-o", "-"})[0],
            "--json and -o - both want stdout");
  EXPECT_EQ(Refusal({"record", "-p", "1", "--json", "-o", "/dev/stdout"})[0],
            "--json and -o - both want stdout");
  EXPECT_EQ(Refusal({"record", "-p", "1", "--min", "2s", "--max", "1s"})[0],
            "no wait is between --min 2s and --max 1s");
  EXPECT_EQ(Refusal({"record", "-p", "1", "-o", "x.raw", "-o", "x.raw"})[0],
            "-o x.raw is given twice");
  Refusal({});
  Refusal({""});
  Refusal({"record", "-p", "1\n2"});
}

TEST(Options, OneValueGivenTwice) {
  const Words twice = Refusal({"record", "-p", "1", "-d", "1s", "-d", "2s"});
  EXPECT_EQ(twice[0], "-d is given twice: '1s', '2s'");
  EXPECT_EQ(twice[1], "it takes one value: leave out the other -d");
  // However it is spelled.
  EXPECT_EQ(Refusal({"record", "-p", "1", "--duration=1s", "-d2s"})[0],
            "-d is given twice: '1s', '2s'");
  EXPECT_EQ(Refusal({"record", "-p", "1", "--min", "1", "--min", "2", "--min", "3"})[0],
            "--min is given more than once: '1', '2', '3'");
  EXPECT_EQ(Refusal({"convert", "x.raw", "-o", "x.html", "-f", "raw", "-f", "raw"})[0],
            "-f is given twice: 'raw', 'raw'");
  EXPECT_EQ(Refusal({"doctor", "-p", "7", "-p", "8"})[0], "-p is given twice: '7', '8'");
  // A value that is missing is another fault.
  EXPECT_EQ(Refusal({"record", "-p", "1", "--min", "1", "-d"})[0], "--duration needs a value");
}

TEST(Options, NoProcessAndNoCommand) {
  const Words zero = Refusal({"record", "-p", "0"});
  EXPECT_EQ(zero[0], "-p: 0 is no process, it is the kernel's idle task");
  EXPECT_EQ(zero[1], "find the process: pgrep -a NAME; or record everything: -a");
  EXPECT_EQ(Refusal({"doctor", "-p", "0"})[0], zero[0]);
  const Words empty = Refusal({"record", "--", ""});
  EXPECT_EQ(empty[0], "the command after -- is the empty word ''");
  EXPECT_THAT(empty[1], HasSubstr("record -- CMD"));
  EXPECT_EQ(Refusal({"record", "--", "", "x"})[0], empty[0]);
  EXPECT_THAT(Record({"--", "x", ""}).target.command, ElementsAre("x", ""));
}

TEST(Options, FormatOverridesOnlyUnknownEndings) {
  const RecordOptions options =
      Record({"-a", "-f", "json", "-o", "a.html", "-o", "b.txt", "-o", "-"});
  EXPECT_THAT(options.outputs,
              ElementsAre(Output{"a.html", Format::kHtml, ""}, Output{"b.txt", Format::kJson, ""},
                          Output{"-", Format::kJson, ""}));
  EXPECT_EQ(options.format, Format::kJson);
}

TEST(Options, Convert) {
  const auto command = ParseCommandLine(
      {"convert", "in.raw", "-o", "out.html", "--idle", "-X", "a", "--resymbolize"});
  ASSERT_TRUE(command.ok()) << command.status();
  const auto& options = std::get<ConvertOptions>(*command);
  EXPECT_EQ(options.input, "in.raw");
  EXPECT_THAT(options.outputs, ElementsAre(Output{"out.html", Format::kHtml, ""}));
  EXPECT_TRUE(options.view.idle && options.resymbolize);
  EXPECT_THAT(Refusal({"convert", "-o", "x.html"})[0], HasSubstr("No capture"));
  EXPECT_THAT(Refusal({"convert", "in.raw"})[0], HasSubstr("No output"));
  EXPECT_EQ(Refusal({"convert", "in.raw", "in2.raw", "-o", "x.html"})[0],
            "unexpected word 'in2.raw'");
}

TEST(Options, Net) {
  const auto one = ParseCommandLine({"net", "-p", "7,8", "-d", "2m", "--json"});
  ASSERT_TRUE(one.ok());
  const auto& options = std::get<NetOptions>(*one);
  EXPECT_THAT(options.target.pids, ElementsAre(7, 8));
  EXPECT_EQ(options.duration_ns, 120'000'000'000u);
  EXPECT_TRUE(options.json);
  const auto all = ParseCommandLine({"net", "-a"});
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(std::get<NetOptions>(*all).target.kind, TargetSelector::Kind::kAll);
  EXPECT_EQ(std::get<NetOptions>(*all).duration_ns, 10'000'000'000u);
  EXPECT_EQ(Refusal({"net"})[0], "net of what? No target is given");
  EXPECT_EQ(Refusal({"net", "-a", "-p", "7"})[0], "-p and -a exclude each other");
  EXPECT_EQ(Refusal({"net", "-p", "7", "-d", "10x"})[0],
            "-d: '10x' is not a duration: did you mean '10s'?");
  EXPECT_THAT(Refusal({"net", "-p", "7", "--jsno"})[0], HasSubstr("did you mean '--json'?"));
}

TEST(Options, DoctorAndList) {
  const auto doctor = ParseCommandLine({"doctor", "-p", "7", "--json"});
  ASSERT_TRUE(doctor.ok());
  EXPECT_EQ(std::get<DoctorOptions>(*doctor).pid, 7u);
  EXPECT_TRUE(std::get<DoctorOptions>(*doctor).json);
  const auto list = ParseCommandLine({"list"});
  ASSERT_TRUE(list.ok());
  EXPECT_EQ(std::get<ListOptions>(*list).pid, std::nullopt);
  Refusal({"doctor", "-p", "x"});
}

// Every option that a help text names is known to that command.
TEST(Options, HelpIsTrue) {
  for (const std::string command : {"record", "net", "convert", "diff", "doctor", "list"}) {
    const auto help = ParseCommandLine({command, "--help"});
    ASSERT_TRUE(help.ok()) << command;
    EXPECT_EQ(std::get<HelpRequest>(*help).text, HelpText(command));
    std::istringstream lines(HelpText(command));
    std::string line;
    size_t options = 0;
    while (std::getline(lines, line)) {
      EXPECT_LE(line.size(), 120u) << line;
      // "  -d DURATION   ..." and "  --min D, --max D   ..."
      if (line.compare(0, 3, "  -") != 0 || line.compare(0, 5, "  -- ") == 0) continue;
      std::istringstream words(line.substr(0, line.find("   ", 2)));
      std::string word;
      while (words >> word) {
        if (word.front() != '-') continue;
        const std::string name = word.substr(0, word.find_first_of(",["));
        ++options;
        const auto parsed = ParseCommandLine({command, name});
        const std::string message = parsed.ok() ? "" : std::string(parsed.status().message());
        EXPECT_EQ(message.find("unknown option"), std::string::npos) << command << " " << name;
      }
    }
    EXPECT_GE(options, 2u) << command;
  }
  EXPECT_TRUE(std::holds_alternative<VersionRequest>(*ParseCommandLine({"--version"})));
  EXPECT_EQ(std::get<HelpRequest>(*ParseCommandLine({"--help"})).text, HelpText(""));
}

}  // namespace
}  // namespace stallscope
