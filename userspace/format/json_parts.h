// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "userspace/profile/profile.h"

namespace stallscope {

// A frame as the object that docs/json.md describes.
std::string JsonFrame(const ProfileFrame& frame);

// The profile's censuses and histograms of Go runtimes, each an array of objects.
nlohmann::ordered_json JsonCensuses(const Profile& profile);
nlohmann::ordered_json JsonHistograms(const Profile& profile);

// Its losses and notes, each an array, and its cost, an object.
nlohmann::ordered_json JsonLosses(const Profile& profile);
nlohmann::ordered_json JsonNotes(const Profile& profile);
nlohmann::ordered_json JsonCost(const Profile& profile);

}  // namespace stallscope
