# Every kernel of every example through NVRTC, which needs no GPU; README.md. A sanitizer would see nothing that it does not see elsewhere.
add_executable(budgets tests/budgets/budgets.c)
target_link_libraries(budgets PRIVATE sslc_frontend sslc_runtime sslc_codegen sslc_passes sslc_ir m)
set(gpu_code ${CMAKE_BINARY_DIR}/gpu_code)
file(MAKE_DIRECTORY ${gpu_code})
file(GLOB examples CONFIGURE_DEPENDS examples/*.ssl)
if(NOT SSLC_SANITIZE)
  foreach(precision f32 bf16)
    foreach(capability 80 90)
      set(name sm_${capability}_${precision})
      add_test(NAME budgets/${name} COMMAND sh -c "cache=\${XDG_CACHE_HOME:-$HOME/.cache}/sslc-budgets; find \"$cache\" -name '*.o' -mtime +14 -delete 2>/dev/null; exec \"$0\" ${capability} ${precision} ${gpu_code}/${name}.txt \"$cache\" \"$@\"" $<TARGET_FILE:budgets> ${examples})
      set_tests_properties(budgets/${name} PROPERTIES COST 1000) # first: the longest
    endforeach()
    set_tests_properties(budgets/sm_80_${precision} budgets/sm_90_${precision} PROPERTIES TIMEOUT 3000)
  endforeach()
  # Most kernels are those of sm_90_bf16, which the cache has then.
  add_test(NAME budgets/sm_90_wgmma COMMAND sh -c "exec \"$0\" 90 bf16 ${gpu_code}/sm_90_wgmma.txt \"\${XDG_CACHE_HOME:-$HOME/.cache}/sslc-budgets\" \"$@\"" $<TARGET_FILE:budgets> ${examples})
  set_tests_properties(budgets/sm_90_wgmma PROPERTIES ENVIRONMENT SSLC_WGMMA=1 DEPENDS budgets/sm_90_bf16 COST 999 TIMEOUT 3000)
endif()
