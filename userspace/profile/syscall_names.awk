# SPDX-License-Identifier: Apache-2.0
# `#define __NR_read 0` -> `{__NR_read, "read"},`
$1 == "#define" && $2 ~ /^__NR_[a-z]/ && $2 !~ /^__NR_(syscalls|arch_specific_syscall)$/ {
  printf "{%s, \"%s\"},\n", $2, substr($2, 6)
}
