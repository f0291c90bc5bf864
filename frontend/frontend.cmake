# The front end: hand-written sources, the scanner and parser that flex and bison make of theirs, and the standard library.
bison_target(parser ${CMAKE_SOURCE_DIR}/frontend/parser.y ${CMAKE_BINARY_DIR}/parser.c DEFINES_FILE ${CMAKE_BINARY_DIR}/parser.h
             COMPILE_FLAGS "-Wall -Werror")
flex_target(lexer ${CMAKE_SOURCE_DIR}/frontend/lexer.l ${CMAKE_BINARY_DIR}/lexer.c)
add_flex_bison_dependency(lexer parser)
include(frontend/library.cmake)
room(frontend ${BISON_parser_OUTPUTS} ${FLEX_lexer_OUTPUTS} ${CMAKE_BINARY_DIR}/library.c)
# Generated code is not held to our warnings.
set_source_files_properties(${CMAKE_BINARY_DIR}/lexer.c ${CMAKE_BINARY_DIR}/parser.c PROPERTIES COMPILE_OPTIONS
                            "-Wno-error;-Wno-missing-prototypes;-Wno-shadow;-Wno-unused-function;-Wno-sign-compare;-Wno-switch-default")
target_compile_definitions(sslc_frontend PRIVATE SSLC_VERSION="${PROJECT_VERSION}")
target_link_libraries(sslc_frontend PUBLIC sslc_runtime sslc_codegen sslc_passes sslc_ir)

file(GLOB command_sources CONFIGURE_DEPENDS frontend/main.c frontend/command*.c)
add_executable(sslc ${command_sources})
target_link_libraries(sslc PRIVATE ${CJSON} sslc_frontend sslc_runtime sslc_codegen sslc_passes sslc_ir)
