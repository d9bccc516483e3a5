# SPDX-License-Identifier: Apache-2.0
#
# cmake -DIN=idle.rules -DNAME=kIdleRules -DOUT=idle_rules.cc -P embed_text.cmake
#
# Writes OUT: the text of IN as `const std::string_view NAME` in namespace stallscope.
include(${CMAKE_CURRENT_LIST_DIR}/../cpp_string.cmake)
file(READ "${IN}" text)
set(source "// Made by embed_text.cmake from ${IN}.\n#include <string_view>\n\nnamespace stallscope {\n\n")
string(APPEND source "extern const std::string_view ${NAME};\nconst std::string_view ${NAME} =\n")
cpp_string("${text}" chunks)
string(APPEND source "${chunks}")
string(APPEND source ";\n\n}  // namespace stallscope\n")
file(WRITE "${OUT}" "${source}")
