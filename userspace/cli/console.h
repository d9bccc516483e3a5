// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace stallscope {

// What stderr is told while something is recorded: lines, and on a terminal one line of progress
// that is drawn again and again.
class Console {
 public:
  // `quiet`: nothing is printed, but notes are kept. `progress`: whether it may be shown.
  Console(bool quiet, bool progress);

  void Say(std::string_view line);
  // A line that the summary repeats.
  void Note(std::string line);
  const std::vector<std::string>& notes() const { return notes_; }

  bool shows_progress() const { return shows_progress_; }
  void ShowProgress(std::string_view line);
  void EndProgress();

 private:
  bool quiet_, shows_progress_;
  bool in_progress_ = false;
  std::vector<std::string> notes_;
};

}  // namespace stallscope
