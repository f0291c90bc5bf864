# What travels to a machine with a GPU and without our build tools: README.md. The command, the library and the tests, linked against LLVM's X86 parts and
# C++'s runtime statically; not part of the default build, since linking takes a minute.
llvm_map_components_to_libnames(llvm_parts core orcjit passes x86codegen x86asmparser x86desc x86info)
if(NOT TARGET zstd::libzstd_shared) # which LLVM's archives name; Debian installs the library alone
  find_library(ZSTD NAMES zstd libzstd.so.1 REQUIRED)
  add_library(zstd::libzstd_shared SHARED IMPORTED)
  set_target_properties(zstd::libzstd_shared PROPERTIES IMPORTED_LOCATION ${ZSTD})
endif()
target_link_libraries(LLVMSupport INTERFACE -l:libstdc++.a)
target_link_libraries(LLVMDemangle INTERFACE -l:libstdc++.a)
set(rooms frontend runtime codegen passes ir)
set(alone "$<TARGET_FILE:sslc_frontend>;$<TARGET_FILE:sslc_runtime>;$<TARGET_FILE:sslc_codegen>;$<TARGET_FILE:sslc_passes>;$<TARGET_FILE:sslc_ir>")
list(TRANSFORM rooms PREPEND sslc_)
function(link_alone target)
  add_dependencies(${target} ${rooms})
  set_target_properties(${target} PROPERTIES EXCLUDE_FROM_ALL ON BUILD_RPATH "\$ORIGIN/lib" RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/alone LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/alone)
  target_link_options(${target} PRIVATE -Wl,--as-needed -Wl,--gc-sections -static-libgcc -s)
  target_link_libraries(${target} PRIVATE ${ARGN} ${llvm_parts} ZLIB::ZLIB PNG::PNG ${CJSON} Threads::Threads ${CMAKE_DL_LIBS} m)
endfunction()

add_executable(alone_sslc ${command_sources})
link_alone(alone_sslc ${alone})
set_target_properties(alone_sslc PROPERTIES OUTPUT_NAME sslc)

add_library(alone_library SHARED $<TARGET_OBJECTS:sslc_frontend> $<TARGET_OBJECTS:sslc_runtime> $<TARGET_OBJECTS:sslc_codegen> $<TARGET_OBJECTS:sslc_passes> $<TARGET_OBJECTS:sslc_ir>)
link_alone(alone_library)
target_link_options(alone_library PRIVATE -Wl,--exclude-libs,ALL)
set_target_properties(alone_library PROPERTIES OUTPUT_NAME sslc LINKER_LANGUAGE C)
