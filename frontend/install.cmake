# The library as others use it: libsslc.so and libsslc.a with everything in them, one header, the command, a .pc file.
include(GNUInstallDirs)
foreach(kind SHARED STATIC)
  string(TOLOWER sslc_${kind} target)
  add_library(${target} ${kind} $<TARGET_OBJECTS:sslc_frontend> $<TARGET_OBJECTS:sslc_runtime> $<TARGET_OBJECTS:sslc_codegen>
              $<TARGET_OBJECTS:sslc_passes> $<TARGET_OBJECTS:sslc_ir>)
  set_target_properties(${target} PROPERTIES OUTPUT_NAME sslc VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} LINKER_LANGUAGE C)
  target_include_directories(${target} INTERFACE ${CMAKE_SOURCE_DIR}/frontend)
  target_link_directories(${target} PRIVATE ${LLVM_LIBRARY_DIRS})
  target_link_libraries(${target} PRIVATE LLVM-19 ZLIB::ZLIB PNG::PNG ${CJSON} Threads::Threads m)
endforeach()

configure_file(${CMAKE_SOURCE_DIR}/frontend/sslc.pc.in ${CMAKE_BINARY_DIR}/sslc.pc @ONLY)
install(TARGETS sslc sslc_shared sslc_static)
install(FILES ${CMAKE_SOURCE_DIR}/frontend/sslc.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${CMAKE_BINARY_DIR}/sslc.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
