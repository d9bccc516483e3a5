// SPDX-License-Identifier: Apache-2.0
//
// What doctor and list found, as values, and as text for people or JSON for programs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "userspace/collect/requirements.h"

namespace stallscope {

// What a recording of one process would meet.
struct ProcessReport {
  uint32_t pid = 0;
  std::string comm;
  std::string exe;         // as the process sees it; empty when it cannot be read
  std::string go_version;  // "go1.22.3"; empty when it is not Go
  std::vector<Requirement> requirements;
};

struct DoctorReport {
  std::string version;  // of stallscope
  std::string libbpf;
  std::string kernel;
  std::vector<Requirement> requirements;
  std::optional<ProcessReport> process;
};

bool CanRecord(const DoctorReport& report);
std::string DoctorText(const DoctorReport& report);
// {version, libbpf, kernel, offcpu, requirements: [{name, state, found, cost, remedy}], process:
// {...} or null}
std::string DoctorJson(const DoctorReport& report);

struct EventReport {
  std::string name;
  std::string sample;              // what one sample is
  std::string unit;                // of its first value
  std::vector<std::string> hooks;  // "sched_switch"
  std::string mechanism;           // what would serve it here; empty when nothing does
  std::string problem;             // why nothing does
  std::string remedy;
};

struct ListReport {
  std::string version;
  std::string kernel;
  std::optional<uint32_t> pid;
  std::string comm;
  std::vector<EventReport> events;
};

std::string ListText(const ListReport& report);
// {version, kernel, pid, events: [{name, sample, unit, hooks, mechanism, problem, remedy}]}; absent
// texts are null.
std::string ListJson(const ListReport& report);

}  // namespace stallscope
