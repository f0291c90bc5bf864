# tests/unit/ROOM/test_X.c is a cmocka program that links ROOM and the rooms below it; those in
# tests/unit/whole link everything.
set(below_ir sslc_ir)
set(below_passes sslc_passes sslc_ir)
set(below_codegen sslc_codegen sslc_passes sslc_ir)
set(below_runtime sslc_runtime sslc_codegen sslc_passes sslc_ir)
set(below_frontend sslc_frontend sslc_ir)
set(below_whole ${CJSON} sslc_frontend sslc_runtime sslc_codegen sslc_passes sslc_ir)
# What several test programs share: random graphs, random schedules of kernels, and kernels for a GPU without one.
add_library(test_support STATIC tests/random_graph.c tests/random_schedule.c tests/emulation/emulation.c)
target_compile_definitions(test_support PRIVATE SOURCE_DIR="${CMAKE_SOURCE_DIR}")
target_link_libraries(test_support PUBLIC sslc_codegen sslc_ir ${CMAKE_DL_LIBS})
add_library(test_device STATIC tests/emulation/emulated_device.c tests/emulation/gpu.c) # a device of these, or a real one
target_link_libraries(test_device PUBLIC test_support sslc_runtime sslc_codegen)
list(PREPEND below_whole test_device)
list(PREPEND below_codegen test_device sslc_runtime)
foreach(room ir passes codegen runtime frontend whole)
  file(GLOB programs CONFIGURE_DEPENDS tests/unit/${room}/test_*.c)
  foreach(program ${programs})
    get_filename_component(name ${program} NAME_WE)
    add_executable(${room}_${name} ${program})
    target_link_libraries(${room}_${name} PRIVATE test_support ${below_${room}} ${CMOCKA} m)
    target_compile_definitions(${room}_${name} PRIVATE SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    add_test(NAME ${room}/${name} COMMAND ${room}_${name})
  endforeach()
endforeach()

# In the place of a GPU's driver, of one that is too old,
add_library(stand_in_cuda MODULE tests/emulation/libcuda.c)
add_library(old_stand_in_cuda MODULE tests/emulation/libcuda.c)
add_library(stand_in_nvrtc MODULE tests/emulation/libnvrtc.c) # and of its compiler
target_compile_definitions(stand_in_nvrtc PRIVATE SOURCE_DIR="${CMAKE_SOURCE_DIR}")
foreach(stand_in stand_in_cuda old_stand_in_cuda stand_in_nvrtc)
  target_compile_options(${stand_in} PRIVATE -Wno-missing-prototypes)
endforeach()
target_compile_definitions(old_stand_in_cuda PRIVATE WITHOUT_GRAPHS)
target_compile_definitions(runtime_test_device_cuda PRIVATE STAND_IN="$<TARGET_FILE:stand_in_cuda>" OLD_STAND_IN="$<TARGET_FILE:old_stand_in_cuda>")
add_dependencies(runtime_test_device_cuda stand_in_cuda old_stand_in_cuda)
foreach(test whole_test_device runtime_test_device_boxes)
  target_compile_definitions(${test} PRIVATE STAND_IN="$<TARGET_FILE:stand_in_cuda>" STAND_IN_COMPILER="$<TARGET_FILE:stand_in_nvrtc>")
  add_dependencies(${test} stand_in_cuda stand_in_nvrtc)
endforeach()

# Benchmarks: built with the rest so that they do not rot, run by hand.
add_executable(bench_peak tests/bench/bench_peak.c)
target_link_libraries(bench_peak PRIVATE ${below_runtime})
add_executable(bench_contractions tests/bench/contractions.c)
target_link_libraries(bench_contractions PRIVATE ${below_runtime} Threads::Threads)
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND AND NOT SSLC_SANITIZE) # its own library is enough: this takes sslc's steps alone; a sanitizer would have to be loaded first
  add_test(NAME bench/workloads COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tests/bench/bench.py --check --library $<TARGET_FILE:sslc_shared>)
endif()

include(tests/golden/golden.cmake)

# The command as a person calls it, and the examples.
file(GLOB scripts CONFIGURE_DEPENDS tests/command/test_*.sh)
foreach(script ${scripts})
  get_filename_component(name ${script} NAME_WE)
  add_test(NAME command/${name} COMMAND sh ${script} $<TARGET_FILE:sslc> ${CMAKE_SOURCE_DIR})
endforeach()
add_test(NAME examples/embed COMMAND embed)
include(tests/device/device.cmake)
include(tests/budgets/budgets.cmake)
include(tests/fuzz/fuzz.cmake)
include(tests/programs/programs.cmake)

# What no test says it runs on a GPU runs on the processor, also where there is one.
get_property(all_tests DIRECTORY PROPERTY TESTS)
set_property(TEST ${all_tests} APPEND PROPERTY ENVIRONMENT SSLC_DEVICE=cpu)
