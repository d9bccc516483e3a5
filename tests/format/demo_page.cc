// SPDX-License-Identifier: Apache-2.0
//
// demo_page KIND > page.html: writes the page of a made-up profile, to be looked at in a browser
// and for tests/system/html_page.py. KIND: service, reason-root, one, many, deep, hostile, empty.
#include <cstdio>
#include <string>

#include "tests/format/demo_profile.h"
#include "userspace/format/format.h"

namespace stallscope {
namespace {

bool Make(const std::string& kind, Profile& profile) {
  if (kind == "service") {
    profile = ServiceProfile();
  } else if (kind == "reason-root") {
    profile = ServiceProfile();
    profile.reason_root = true;
  } else if (kind == "one") {
    profile = ServiceProfile();
    profile.events.resize(1);
    profile.losses.clear();
  } else if (kind == "many") {
    profile = ManyStacksProfile(100'000, 30);
  } else if (kind == "deep") {
    profile = DeepProfile();
  } else if (kind == "hostile") {
    profile = HostileProfile();
  } else if (kind == "empty") {
    profile = ServiceProfile();
    for (EventProfile& event : profile.events) event.samples.clear();
  } else {
    return false;
  }
  return true;
}

}  // namespace
}  // namespace stallscope

int main(int argc, char** argv) {
  stallscope::Profile profile;
  if (argc != 2 || !stallscope::Make(argv[1], profile)) {
    std::fprintf(stderr,
                 "usage: demo_page service|reason-root|one|many|deep|hostile|empty > FILE\n");
    return 2;
  }
  const std::string page = stallscope::Html(profile);
  return std::fwrite(page.data(), 1, page.size(), stdout) == page.size() ? 0 : 1;
}
