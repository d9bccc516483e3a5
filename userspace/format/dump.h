// SPDX-License-Identifier: Apache-2.0
//
// A Dump as text and as JSON.
#pragma once

#include <string>

#include "userspace/profile/dump.h"

namespace stallscope {

struct DumpTextOptions {
  bool all = false;   // each goroutine by itself, in the manner of Go's debug=2; else equal ones
                      // are one group with a count, the largest first
  bool idle = false;  // also what is idle by design, which is one line otherwise
};

std::string DumpText(const Dump& dump, const DumpTextOptions& options);

// docs/json.md, "A dump". Always every goroutine.
std::string DumpJson(const Dump& dump);

}  // namespace stallscope
