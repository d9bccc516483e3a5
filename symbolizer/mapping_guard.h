// SPDX-License-Identifier: Apache-2.0
//
// A file that is cut short while it is mapped (a package upgrade that writes a library in place
// does it) raises SIGBUS in whoever reads the mapping. Copying each file would cost its size in
// memory, so reads beyond the new end are made to see zeros instead: the handler puts a zero page
// where the fault was, and the reader finds damage, as in any bad file.
#pragma once

#include <cstddef>

namespace stallscope::symbolizer {

// Watches [start, start + size). The first call installs the SIGBUS handler, which passes every
// fault outside watched ranges to the handler that was there before. At most 4,096 mappings are
// watched at once; those beyond are not.
void GuardMapping(void* start, size_t size);

// Stops watching the mapping that starts at `start`; call before munmap.
void UnguardMapping(void* start);

}  // namespace stallscope::symbolizer
