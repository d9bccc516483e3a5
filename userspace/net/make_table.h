// SPDX-License-Identifier: Apache-2.0
//
// Groups of connections -> the rows of the table, named.
#pragma once

#include <string_view>
#include <vector>

#include "userspace/net/table.h"
#include "userspace/profile/profile.h"
#include "userspace/profile/recording.h"

namespace stallscope {

inline constexpr std::string_view kNetEvent = "net";

// An event of a recording that has a sample a group, so that MakeProfile() names their stacks, and
// its losses are held against the number of connections.
RecordedEvent ConnectionEvent(const std::vector<ConnectionGroup>& groups, std::string mechanism);

// Likewise a sample a loop; loops whose stack is not known have none.
inline constexpr std::string_view kLoopEvent = "loops";
RecordedEvent LoopEvent(const std::vector<EventLoop>& loops);
// Gives each its path. The order stays.
std::vector<NetLoop> NameLoops(const Profile& profile, const std::vector<EventLoop>& loops);

// `profile` is of a recording with that event, made without filters. Rows that are equal by name
// are one; what weighs most comes first: connections, then bytes.
std::vector<NetPeer> NamePeers(const Profile& profile, const std::vector<ConnectionGroup>& groups,
                               bool with_stacks);

}  // namespace stallscope
