// SPDX-License-Identifier: Apache-2.0
//
// Formats turn a finished Profile into bytes. Each is one function; Formats() lists them for the
// command line.
#pragma once

#include <string>
#include <string_view>

#include "userspace/profile/profile.h"

namespace stallscope {

// Folded stacks of one event: `comm;user frames;kernel frames;[reason] N`, root first, one line a
// distinct stack, sorted by bytes. N is the sum of the first column: microseconds for ns (rounded
// half up, after summing), else as it is. Samples without a value in that column, and lines whose N
// would be 0, are left out: such a line has no width. Kernel frames end in `_[k]`, inlined ones in
// `_[i]`; ';' in a name is ':', a space in comm is '_'; control characters are spaces or '?'
// (text.h). Each line fits flamegraph.pl's rule, and none is read as two columns: where a stack
// would end in a number of its own ("f 12"), the space before that is '_'.
std::string Folded(const Profile& profile, const EventProfile& event);

// One object with all events, as docs/json.md describes: UTF-8, one sample a line.
std::string Json(const Profile& profile);

// One offline page: a flame graph of each event, and a table of its 20 heaviest sites that needs no
// script. It asks for nothing from any network, and its content security policy admits nothing but
// its own script and style.
std::string Html(const Profile& profile);

// One event as `go tool pprof`, Pyroscope, Parca and others read it: profile.proto, gzipped. Values
// are the columns, not measured and negative ones as 0; samples without any value are left out. Of
// threads and goroutines that wait they are "contentions" and "delay", as in Go's own profiles of
// blocking, then the rest. The reason is a label, as are comm and the sample's own, and a frame
// only with --reason-root or where there is no other. Made by address (ProfileOptions) it has
// mappings, and addresses of user code; never the kernel's, which would give away where the kernel
// lies.
std::string Pprof(const Profile& profile, const EventProfile& event);

}  // namespace stallscope
