// SPDX-License-Identifier: Apache-2.0
//
// Comparisons (compare.h) as text.
#pragma once

#include <string>
#include <vector>

#include "userspace/profile/compare.h"

namespace stallscope {

// Stacks in two columns, as difffolded.pl writes them and flamegraph.pl draws them red and blue:
// `comm;frames;[reason] BEFORE AFTER`, of the first and of the last profile, sorted by bytes.
// Times are microseconds per second of recording; what is 0 in both is left out.
std::string FoldedDiff(const Comparison& comparison, const EventComparison& event);

// For people: of each event its sum, what got longer and what got shorter, and of which goroutines
// there are more, each heaviest first and at most `rows` of them. Names are printable (text.h).
std::string DiffText(const Comparison& comparison, size_t rows = 10);

}  // namespace stallscope
