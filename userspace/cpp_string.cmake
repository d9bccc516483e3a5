# SPDX-License-Identifier: Apache-2.0
#
# cpp_string(TEXT OUT): TEXT as adjacent C++ raw strings, none longer than compilers take. It must be plain ASCII: a
# chunk could cut a character of several bytes in two.
function(cpp_string text out)
  if("${text}" MATCHES "[^\t\n -~]")
    message(FATAL_ERROR "not plain ASCII, use escapes: ${CMAKE_MATCH_0}")
  endif()
  set(source "")
  string(LENGTH "${text}" length)
  set(at 0)
  while(at LESS length)
    string(SUBSTRING "${text}" ${at} 4000 chunk)
    string(APPEND source "R\"_text_(${chunk})_text_\"\n")
    math(EXPR at "${at} + 4000")
  endwhile()
  set(${out} "${source}" PARENT_SCOPE)
endfunction()
