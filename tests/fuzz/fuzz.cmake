# Fuzz targets. Always built as programs that replay the committed corpus and the programs of the tree; with
# SSLC_FUZZ (clang: cmake --preset fuzz) also against libFuzzer:
#   build-fuzz/fuzz_syntax -timeout=10 -max_total_time=600 NEW_INPUTS tests/fuzz/corpus/syntax
set(fuzz_syntax_folders tests/fuzz/corpus/syntax tests/golden/check tests/golden/format tests/programs frontend/std)
set(fuzz_program_folders tests/fuzz/corpus/program tests/golden/check tests/programs)
set(fuzz_ir_folders tests/fuzz/corpus/ir tests/golden/kernel tests/golden/kernel_error tests/golden/graph)
foreach(name syntax program ir)
  set(libraries sslc_frontend sslc_ir m)
  add_executable(replay_${name} tests/fuzz/fuzz_${name}.c tests/fuzz/replay.c)
  target_link_libraries(replay_${name} PRIVATE ${libraries})
  add_test(NAME fuzz/${name} COMMAND replay_${name} ${fuzz_${name}_folders} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  if(SSLC_FUZZ)
    add_executable(fuzz_${name} tests/fuzz/fuzz_${name}.c)
    target_link_libraries(fuzz_${name} PRIVATE ${libraries})
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  endif()
endforeach()
