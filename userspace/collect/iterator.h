// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <absl/status/statusor.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "userspace/collect/status.h"

namespace stallscope {

// Runs a BPF iterator program once and returns the records that it wrote. `options`: what it goes
// over, where that is not all tasks.
template <typename Record>
absl::StatusOr<std::vector<Record>> ReadIterator(const bpf_program* program,
                                                 const bpf_iter_attach_opts* options = nullptr) {
  bpf_link* link = bpf_program__attach_iter(program, options);
  if (!link) return BpfError(errno, "cannot attach an iterator");
  const int fd = bpf_iter_create(bpf_link__fd(link));
  if (fd < 0) {
    const int error = errno;
    bpf_link__destroy(link);
    return BpfError(error, "cannot run an iterator");
  }
  std::string bytes;
  char buffer[65536];
  ssize_t n;
  while ((n = read(fd, buffer, sizeof(buffer))) > 0 ||
         (n < 0 && (errno == EINTR || errno == EAGAIN))) {
    if (n > 0) bytes.append(buffer, n);
  }
  const int error = n < 0 ? errno : 0;
  close(fd);
  bpf_link__destroy(link);
  if (error) return BpfError(error, "cannot read an iterator");
  std::vector<Record> records(bytes.size() / sizeof(Record));
  if (!records.empty()) memcpy(records.data(), bytes.data(), records.size() * sizeof(Record));
  return records;
}

}  // namespace stallscope
