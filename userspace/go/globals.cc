// SPDX-License-Identifier: Apache-2.0
#include "userspace/go/globals.h"

#include <absl/status/status.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "userspace/go/values.h"

namespace stallscope {
namespace {

constexpr uint64_t kWord = 8;
// runtime.schedinit: sched.maxmcount = 10000, since Go 1.2.
constexpr int64_t kInitialMaxThreads = 10000;
// A goroutine that starts while we read can come between the words of the list.
constexpr int kTries = 20;
constexpr size_t kLongestReason = 64;

std::vector<uint64_t> Variables(const std::vector<uint64_t>& addresses, uint64_t size,
                                const IsVariable& is_variable) {
  std::vector<uint64_t> variables;
  for (const uint64_t address : addresses) {
    if (is_variable(address, size)) variables.push_back(address);
  }
  return variables;
}

std::vector<uint64_t> Intersection(const std::vector<uint64_t>& a, const std::vector<uint64_t>& b) {
  std::vector<uint64_t> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

bool Contains(const std::vector<uint64_t>& sorted, uint64_t value) {
  return std::binary_search(sorted.begin(), sorted.end(), value);
}

struct Candidate {
  uint64_t allgs = 0;
  GoroutineListVariables list;
};

// The slice allgs, and the two words that repeat its array and its length.
bool Agrees(const Candidate& candidate, const Memory& memory, uint64_t* length) {
  const auto slice = memory.ReadValue<GoSlice>(candidate.allgs);
  const auto data = memory.ReadValue<uint64_t>(candidate.list.allgptr);
  const auto count = memory.ReadValue<uint64_t>(candidate.list.allglen);
  if (!slice || !data || !count) return false;
  *length = *count;
  return slice->data == *data && slice->length == *count && slice->length <= slice->capacity &&
         slice->data % kWord == 0 && (slice->data == 0) == (slice->length == 0);
}

absl::StatusOr<GoroutineListVariables> Believe(const Candidate& candidate, const Memory& memory) {
  uint64_t length = 0;
  for (int i = 0; i < kTries; ++i) {
    if (!Agrees(candidate, memory, &length)) continue;
    if (length == 0) return absl::FailedPreconditionError("this runtime has not started");
    return candidate.list;
  }
  return absl::UnimplementedError(
      fmt::format("runtime.allgs at {:#x} is not what allglen at {:#x} and allgptr at {:#x} say",
                  candidate.allgs, candidate.list.allglen, candidate.list.allgptr));
}

// The code that appends to the list: in a program that was optimized by a profile allgadd can have
// gone into the function that calls it.
const CodeFacts& Appender(const GoRuntimeCode& code) {
  return code.allgadd.static_addresses.empty() ? code.new_goroutine : code.allgadd;
}

absl::StatusOr<GoroutineListVariables> ListBySymbols(const GoRuntimeCode& code,
                                                     const GoRuntimeSymbols& symbols,
                                                     const Memory& memory) {
  // A plugin has variables and never uses them: its code works on those of the program.
  const Candidate candidate = {symbols.allgs, {symbols.allglen, symbols.allgptr}};
  uint64_t length = 0;
  if (Agrees(candidate, memory, &length) && length == 0)
    return absl::FailedPreconditionError("this runtime has not started");
  for (const CodeFacts* facts : {&Appender(code), &code.for_each_g}) {
    const std::vector<uint64_t>& named = facts->static_addresses;
    if (named.empty()) continue;
    if (!Contains(named, symbols.allglen) || !Contains(named, symbols.allgptr)) {
      return absl::UnimplementedError(
          fmt::format("the symbols runtime.allglen ({:#x}) and runtime.allgptr ({:#x}) are not "
                      "what the runtime's code works on",
                      symbols.allglen, symbols.allgptr));
    }
  }
  return Believe(candidate, memory);
}

// Of what allgadd works on: a slice, and among what forEachGRace reads too a word that equals its
// array and one that equals its length.
std::vector<Candidate> CandidatesByCode(const std::vector<uint64_t>& slices,
                                        const std::vector<uint64_t>& words, const Memory& memory) {
  std::vector<Candidate> candidates;
  for (const uint64_t allgs : slices) {
    const auto own = [&](uint64_t word) { return word >= allgs && word < allgs + sizeof(GoSlice); };
    for (const uint64_t allgptr : words) {
      if (own(allgptr)) continue;
      for (const uint64_t allglen : words) {
        if (own(allglen) || allglen == allgptr) continue;
        const Candidate candidate = {allgs, {allglen, allgptr}};
        uint64_t length = 0;
        if (Agrees(candidate, memory, &length) && length > 0) candidates.push_back(candidate);
      }
    }
  }
  return candidates;
}

absl::StatusOr<GoroutineListVariables> ListByCode(const GoRuntimeCode& code, const Memory& memory,
                                                  const IsVariable& is_variable) {
  const std::vector<uint64_t> slices =
      Variables(Appender(code).static_addresses, sizeof(GoSlice), is_variable);
  const std::vector<uint64_t> words =
      Variables(Intersection(Appender(code).static_addresses, code.for_each_g.static_addresses),
                kWord, is_variable);
  constexpr size_t kMostSlices = 128, kMostWords = 16;
  if (slices.empty() || slices.size() > kMostSlices || words.size() < 2 ||
      words.size() > kMostWords) {
    return absl::UnimplementedError(fmt::format(
        "runtime.allgadd and runtime.forEachGRace work on {} variables together: at least 2 were "
        "expected",
        words.size()));
  }
  size_t found = 0;
  for (int i = 0; i < kTries; ++i) {
    const std::vector<Candidate> candidates = CandidatesByCode(slices, words, memory);
    found = candidates.size();
    if (found == 1) return candidates[0].list;
  }
  if (found > 1)
    return absl::UnimplementedError(fmt::format("{} lists look like runtime.allgs", found));
  const bool all_zero = std::all_of(words.begin(), words.end(), [&](uint64_t word) {
    return memory.ReadValue<uint64_t>(word) == uint64_t{0};
  });
  if (all_zero) return absl::FailedPreconditionError("this runtime has not started");
  return absl::UnimplementedError("no list that looks like runtime.allgs where the code has it");
}

}  // namespace

absl::StatusOr<GoroutineListVariables> FindGoroutineList(const GoRuntimeCode& code,
                                                         const GoRuntimeSymbols& symbols,
                                                         const Memory& memory,
                                                         const IsVariable& is_variable) {
  const bool has_symbols = symbols.allgs != 0 && symbols.allglen != 0 && symbols.allgptr != 0;
  const bool has_code = !Appender(code).static_addresses.empty();
  if (!has_code) return absl::UnimplementedError("no function runtime.allgadd");
  return has_symbols ? ListBySymbols(code, symbols, memory) : ListByCode(code, memory, is_variable);
}

uint64_t FindSched(const GoRuntimeCode& code, const GoRuntimeSymbols& symbols,
                   const GoOffsets& offsets, const IsVariable& is_variable) {
  std::vector<uint64_t> by_limit;  // what schedinit says
  for (const CodeFacts::StoredConstant& stored : code.schedinit.stored_constants) {
    if (stored.value == kInitialMaxThreads)
      by_limit.push_back(stored.address - offsets.sched_maxmcount);
  }
  std::vector<uint64_t> by_counter;  // what newproc1 says
  for (const uint64_t counter : code.new_goroutine.atomic_adds)
    by_counter.push_back(counter - offsets.sched_goidgen);
  std::sort(by_limit.begin(), by_limit.end());
  std::sort(by_counter.begin(), by_counter.end());
  std::vector<uint64_t> agreed = Intersection(by_limit, by_counter);
  if (symbols.sched != 0) {
    const bool confirmed = Contains(by_limit, symbols.sched) || Contains(by_counter, symbols.sched);
    agreed.assign(confirmed ? 1 : 0, symbols.sched);
  }
  if (agreed.size() != 1 || !is_variable(agreed[0], offsets.sched_maxmcount + 4)) return 0;
  return agreed[0];
}

absl::StatusOr<std::vector<std::string>> ReadWaitReasons(const GoRuntimeCode& code,
                                                         const Memory& memory,
                                                         const IsVariable& is_variable) {
  struct String {
    uint64_t data, length;
  };
  const auto refused = [](std::string_view why) {
    return absl::UnimplementedError(
        fmt::format("the table of wait reasons was not found: {}", why));
  };
  const std::vector<uint32_t>& limits = code.wait_reason.byte_limits;
  if (limits.size() != 1) return refused("runtime.waitReason.String holds nothing against a limit");
  const uint32_t count = limits[0];
  const std::vector<uint64_t> tables =
      Variables(code.wait_reason.static_addresses, count * sizeof(String), is_variable);
  if (tables.size() != 1)
    return refused(
        fmt::format("runtime.waitReason.String names {} variables instead of one", tables.size()));
  std::vector<String> strings(count);
  if (!memory.Read(tables[0], strings.data(), count * sizeof(String)))
    return refused(fmt::format("{:#x} cannot be read", tables[0]));
  std::vector<std::string> reasons;
  for (const String& string : strings) {
    std::string reason(std::min<uint64_t>(string.length, kLongestReason), '\0');
    const bool read = reason.empty() || memory.Read(string.data, reason.data(), reason.size());
    const bool printable =
        std::all_of(reason.begin(), reason.end(), [](char c) { return c >= ' ' && c <= '~'; });
    if (string.length > kLongestReason || !read || !printable)
      return refused(fmt::format("entry {} at {:#x} is no text", reasons.size(), tables[0]));
    reasons.push_back(std::move(reason));
  }
  return reasons;
}

}  // namespace stallscope
