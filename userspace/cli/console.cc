// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/console.h"

#include <stdio.h>
#include <unistd.h>

#include <utility>

#include "userspace/cli/words.h"

namespace stallscope {

Console::Console(bool quiet, bool progress)
    : quiet_(quiet), shows_progress_(progress && !quiet && isatty(STDERR_FILENO)) {}

void Console::Say(std::string_view line) {
  if (quiet_) return;
  EndProgress();
  PrintLine(stderr, line);
}

void Console::Note(std::string line) {
  Say(line);
  notes_.push_back(std::move(line));
}

void Console::ShowProgress(std::string_view line) {
  if (!shows_progress_) return;
  fputs("\r\x1b[K", stderr);
  fwrite(line.data(), 1, line.size(), stderr);
  fflush(stderr);
  in_progress_ = true;
}

void Console::EndProgress() {
  if (!in_progress_) return;
  fputs("\r\x1b[K", stderr);
  in_progress_ = false;
}

}  // namespace stallscope
