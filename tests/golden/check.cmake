# One golden file: runs sslc on NAME in its own folder, so that messages name relative paths, and compares
# what it prints with the .expected file beside it. With SSLC_UPDATE_GOLDEN=1 in the environment the file is
# rewritten instead: read the difference before committing it.
#   cmake -DSSLC=... -DVERB=check -DSTREAM=error -DSOURCE=.../name.ssl -P check.cmake
cmake_minimum_required(VERSION 3.25)
get_filename_component(folder ${SOURCE} DIRECTORY)
get_filename_component(name ${SOURCE} NAME)
get_filename_component(stem ${SOURCE} NAME_WE)
execute_process(COMMAND ${SSLC} ${VERB} ${name} WORKING_DIRECTORY ${folder} OUTPUT_VARIABLE output ERROR_VARIABLE error RESULT_VARIABLE status)
if(NOT status MATCHES "^[01]$")
  message(FATAL_ERROR "sslc ${VERB} ${name} ended with ${status}\n${error}")
endif()
# Where exactly a line of the library stands is not what these tests are about.
string(REGEX REPLACE "(<std/[a-z_]+[.]ssl>):[0-9]+:[0-9]+([^\n]*)\n *[0-9]+ [|][^\n]*\n *[|][^\n]*\n" "\\1\\2\n" ${STREAM} "${${STREAM}}")
set(expected ${folder}/${stem}.expected)
if("$ENV{SSLC_UPDATE_GOLDEN}")
  file(WRITE ${expected} "${${STREAM}}")
  return()
endif()
set(wanted "(there is no ${stem}.expected)")
if(EXISTS ${expected})
  file(READ ${expected} wanted)
endif()
if(NOT "${${STREAM}}" STREQUAL "${wanted}")
  message("sslc ${VERB} ${name} printed\n${${STREAM}}\ninstead of\n${wanted}")
  message(FATAL_ERROR "the output differs; SSLC_UPDATE_GOLDEN=1 writes it down as right")
endif()
