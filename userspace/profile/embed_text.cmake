# SPDX-License-Identifier: Apache-2.0
#
# cmake -DIN=idle.rules -DNAME=kIdleRules -DOUT=idle_rules.cc -P embed_text.cmake
#
# Writes OUT: the text of IN as `const std::string_view NAME` in namespace stallscope.
file(READ "${IN}" text)
if("${text}" MATCHES "[^\t\n -~]")
  message(FATAL_ERROR "${IN} is not plain ASCII")  # a chunk could cut a character of several bytes in two
endif()
set(source "// Made by embed_text.cmake from ${IN}.\n#include <string_view>\n\nnamespace stallscope {\n\n")
string(APPEND source "extern const std::string_view ${NAME};\nconst std::string_view ${NAME} =\n")
string(LENGTH "${text}" length)
set(at 0)
while(at LESS length)
  string(SUBSTRING "${text}" ${at} 4000 chunk)
  string(APPEND source "R\"_text_(${chunk})_text_\"\n")
  math(EXPR at "${at} + 4000")
endwhile()
string(APPEND source ";\n\n}  // namespace stallscope\n")
file(WRITE "${OUT}" "${source}")
