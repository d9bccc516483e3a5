// SPDX-License-Identifier: Apache-2.0
//
// Formats turn a finished Profile into bytes. Each is one function; Formats() lists them for the
// command line.
#pragma once

#include <string>
#include <string_view>

#include "userspace/profile/profile.h"

namespace stallscope {

// Folded stacks of one event: `comm;frames;[reason] N`, sorted.
std::string Folded(const Profile& profile, const EventProfile& event);

// One object with all events, as docs/json.md describes.
std::string Json(const Profile& profile);

// One offline page with a flame graph of each event.
std::string Html(const Profile& profile);

}  // namespace stallscope
