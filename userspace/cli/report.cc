// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "userspace/cli/words.h"

namespace stallscope {
namespace {

using Object = nlohmann::ordered_json;

// Bytes that are not UTF-8 become U+FFFD, so this never throws.
std::string Dump(const Object& value) {
  return value.dump(2, ' ', false, Object::error_handler_t::replace) + "\n";
}

Object TextOrNull(const std::string& text) { return text.empty() ? Object(nullptr) : Object(text); }

const char* StateName(RequirementState state) {
  switch (state) {
    case RequirementState::kOk:
      return "ok";
    case RequirementState::kDegraded:
      return "degraded";
    case RequirementState::kMissing:
      return "missing";
  }
  return "missing";
}

Object RequirementsObject(const std::vector<Requirement>& requirements) {
  Object list = Object::array();
  for (const Requirement& requirement : requirements) {
    list.push_back({{"name", requirement.name},
                    {"state", StateName(requirement.state)},
                    {"found", requirement.found},
                    {"cost", TextOrNull(requirement.cost)},
                    {"remedy", TextOrNull(requirement.remedy)}});
  }
  return list;
}

std::string RequirementsText(const std::vector<Requirement>& requirements) {
  std::string text;
  for (const Requirement& requirement : requirements) {
    text += fmt::format("{:<9} {:<26} {}\n", StateName(requirement.state), requirement.name,
                        Printable(requirement.found));
    if (!requirement.cost.empty()) text += fmt::format("{:<10}costs: {}\n", "", requirement.cost);
    if (!requirement.remedy.empty())
      text += fmt::format("{:<10}mend:  {}\n", "", requirement.remedy);
  }
  return text;
}

}  // namespace

bool CanRecord(const DoctorReport& report) { return CanRecord(report.requirements); }

std::string DoctorText(const DoctorReport& report) {
  std::string text = fmt::format("stallscope {}, libbpf {}, Linux {}\n\n", report.version,
                                 report.libbpf, report.kernel);
  text += RequirementsText(report.requirements);
  if (report.process) {
    const ProcessReport& process = *report.process;
    text += fmt::format("\n{} ({})\n\n", process.pid, Printable(process.comm));
    text += RequirementsText(process.requirements);
  }
  const std::string_view verdict = CanRecord(report)
                                       ? "offcpu, tcp, retrans and epoll can be recorded here"
                                       : "offcpu, tcp, retrans and epoll cannot be recorded here";
  return text + fmt::format("\n{}\n", verdict);
}

std::string DoctorJson(const DoctorReport& report) {
  Object object = {{"version", report.version},
                   {"libbpf", report.libbpf},
                   {"kernel", report.kernel},
                   {"offcpu", CanRecord(report)},
                   {"requirements", RequirementsObject(report.requirements)},
                   {"process", nullptr}};
  if (report.process) {
    object["process"] = {{"pid", report.process->pid},
                         {"comm", report.process->comm},
                         {"exe", TextOrNull(report.process->exe)},
                         {"go_version", TextOrNull(report.process->go_version)},
                         {"requirements", RequirementsObject(report.process->requirements)}};
  }
  return Dump(object);
}

std::string ListText(const ListReport& report) {
  std::string text;
  if (report.pid) text += fmt::format("for {} ({}):\n", *report.pid, Printable(report.comm));
  for (const EventReport& event : report.events) {
    text += fmt::format("{:<10} {}, in {}\n", event.name, event.sample, event.unit);
    text += fmt::format("{:<10} hooks: {}\n", "", Joined(event.hooks, ", "));
    if (!event.mechanism.empty()) text += fmt::format("{:<10} here:  {}\n", "", event.mechanism);
    if (!event.problem.empty())
      text += fmt::format("{:<10} here:  nothing serves it: {}\n", "", event.problem);
    if (!event.remedy.empty()) text += fmt::format("{:<10} mend:  {}\n", "", event.remedy);
  }
  return text;
}

std::string ListJson(const ListReport& report) {
  Object events = Object::array();
  for (const EventReport& event : report.events) {
    events.push_back({{"name", event.name},
                      {"sample", event.sample},
                      {"unit", event.unit},
                      {"hooks", event.hooks},
                      {"mechanism", TextOrNull(event.mechanism)},
                      {"problem", TextOrNull(event.problem)},
                      {"remedy", TextOrNull(event.remedy)}});
  }
  return Dump({{"version", report.version},
               {"kernel", report.kernel},
               {"pid", report.pid ? Object(*report.pid) : Object(nullptr)},
               {"events", events}});
}

}  // namespace stallscope
