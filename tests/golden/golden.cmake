# Golden files: check/ holds wrong programs and what `sslc check` says of them, format/ programs and their
# canonical form, warning/ programs that run and deserve a warning, quiet/ programs that come close and deserve none
# (tests/unit/whole/test_warnings.c), memory/ programs too large for a limit of 4 MiB, device/ programs for a GPU whose libraries are not there,
# device_memory/ those too large for its 64 MiB, kernel/ kernel texts, right and wrong, that are compared with their definitions, graph/ graph
# texts and what their pictures are made of. `SSLC_UPDATE_GOLDEN=1 ctest -R golden` rewrites the .expected files.
function(golden folder pattern verb stream) # and the environment
  file(GLOB programs CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/golden/${folder}/${pattern})
  foreach(program ${programs})
    get_filename_component(name ${program} NAME_WE)
    add_test(NAME golden/${folder}/${name}
             COMMAND ${CMAKE_COMMAND} -DSSLC=$<TARGET_FILE:sslc> "-DVERB=${verb}" -DSTREAM=${stream} -DSOURCE=${program}
                     -P ${CMAKE_SOURCE_DIR}/tests/golden/check.cmake)
    set_tests_properties(golden/${folder}/${name} PROPERTIES ENVIRONMENT "${ARGN}")
  endforeach()
endfunction()
golden(check *.ssl "check;--no-cache" error)
golden(memory *.ssl "check;--no-cache;--memory;4M" error)
golden(device *.ssl "check;--no-cache;--device;cuda" error SSLC_LIBCUDA=/nowhere/libcuda.so.1 SSLC_NVRTC=/nowhere/libnvrtc.so)
golden(device_memory *.ssl "check;--no-cache;--device;cuda" error SSLC_LIBCUDA=$<TARGET_FILE:stand_in_cuda> SSLC_NVRTC=$<TARGET_FILE:stand_in_nvrtc>)
golden(warning *.ssl "emit;--stage;graph" error)
golden(format *.ssl fmt output)
golden(kernel *.kernel "kernel;--check" output)
golden(kernel_error *.kernel "kernel;--check" error)
golden(graph *.graph "emit;--stage;dot" output)
add_test(NAME golden/idempotent COMMAND ${CMAKE_COMMAND} -DSSLC=$<TARGET_FILE:sslc> -DROOT=${CMAKE_SOURCE_DIR}
                                        -DWORK=${CMAKE_BINARY_DIR}/golden -P ${CMAKE_SOURCE_DIR}/tests/golden/idempotent.cmake)

# The step of the seed recipe, relu behind pooling and one view's derivative after the other's: below 220 million bytes in use at once
# (175 without transformed tiles of convolutions).
add_test(NAME golden/memory_of_a_step COMMAND sslc emit --stage plan ${CMAKE_SOURCE_DIR}/tests/bench/workloads/a.ssl)
set_tests_properties(golden/memory_of_a_step PROPERTIES PASS_REGULAR_EXPRESSION "; 2[01][0-9][0-9][0-9][0-9][0-9][0-9][0-9] of them are in use")

# ResNet-18, what is relu of a norm made again in front of the weight gradients: below 460 million bytes (620 where all is kept).
add_test(NAME golden/memory_of_resnet COMMAND sslc emit --stage plan ${CMAKE_SOURCE_DIR}/tests/bench/workloads/c.ssl)
set_tests_properties(golden/memory_of_resnet PROPERTIES PASS_REGULAR_EXPRESSION "; 4[0-5][0-9][0-9][0-9][0-9][0-9][0-9][0-9] of them are in use")

# GPT and a masked autoencoder, whose activations in panels are made late, of what stays anyway, but for those that products write themselves,
# which is a hundredth of the step's time: below 260 and 120 million bytes (290 and 145 where all wait; 205 and 100 where none does).
add_test(NAME golden/memory_of_gpt COMMAND sslc emit --stage plan ${CMAKE_SOURCE_DIR}/tests/bench/workloads/e.ssl)
set_tests_properties(golden/memory_of_gpt PROPERTIES PASS_REGULAR_EXPRESSION "; 25[0-9][0-9][0-9][0-9][0-9][0-9][0-9] of them are in use")
add_test(NAME golden/memory_of_mae COMMAND sslc emit --stage plan ${CMAKE_SOURCE_DIR}/tests/bench/workloads/d.ssl)
set_tests_properties(golden/memory_of_mae PROPERTIES PASS_REGULAR_EXPRESSION "; 11[0-9][0-9][0-9][0-9][0-9][0-9][0-9] of them are in use")
