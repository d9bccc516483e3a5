# SPDX-License-Identifier: Apache-2.0
#
# cmake -DHTML=page.html -DCSS=page.css -DJS=page.js -DOUT=page.cc -P embed.cmake
#
# Writes OUT: the page as a C++ string, with the style sheet and the script put in at {{STYLE}} and {{SCRIPT}}, and
# their hashes, which are all that the page's content security policy admits, at {{STYLE_HASH}} and {{SCRIPT_HASH}}.
# The other {{NAMES}} are filled in when a profile is written (html.cc).

include(${CMAKE_CURRENT_LIST_DIR}/../cpp_string.cmake)

# The digest as content security policies write it: sha256- and base64.
function(policy_hash text out)
  set(alphabet ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/)
  string(SHA256 hex "${text}")
  string(APPEND hex "00")  # 32 bytes, filled up to a multiple of three
  set(base64 "")
  foreach(at RANGE 0 60 6)
    string(SUBSTRING "${hex}" ${at} 6 group)
    foreach(shift 18 12 6 0)
      math(EXPR digit "(0x${group} >> ${shift}) & 63")
      string(SUBSTRING "${alphabet}" ${digit} 1 character)
      string(APPEND base64 "${character}")
    endforeach()
  endforeach()
  string(SUBSTRING "${base64}" 0 43 base64)  # the last digit stands for the filling
  set(${out} "sha256-${base64}=" PARENT_SCOPE)
endfunction()

file(READ "${HTML}" page)
file(READ "${CSS}" style)
file(READ "${JS}" script)
if("${style}" MATCHES "</style" OR "${script}" MATCHES "</script")
  message(FATAL_ERROR "a style sheet or a script cannot hold its own closing tag")
endif()

policy_hash("${style}" style_hash)
policy_hash("${script}" script_hash)
string(REPLACE "{{STYLE_HASH}}" "${style_hash}" page "${page}")
string(REPLACE "{{SCRIPT_HASH}}" "${script_hash}" page "${page}")
string(REPLACE "{{STYLE}}" "${style}" page "${page}")
string(REPLACE "{{SCRIPT}}" "${script}" page "${page}")

set(source "// Made by embed.cmake from ${HTML}, ${CSS} and ${JS}.\n")
string(APPEND source "#include \"userspace/format/page.h\"\n\nnamespace stallscope {\n\n")
string(APPEND source "const std::string_view kPage =\n")
cpp_string("${page}" text)
string(APPEND source "${text}")
string(APPEND source ";\n\n}  // namespace stallscope\n")
file(WRITE "${OUT}" "${source}")
