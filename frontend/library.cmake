# Makes ${CMAKE_BINARY_DIR}/library.c of the files in frontend/std: the table that frontend/library.h declares. Done when
# configuring, and again whenever one of them changes.
file(GLOB library_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/frontend/std/*.ssl)
set(library_texts "")
set(library_rows "")
foreach(file ${library_files})
  get_filename_component(name ${file} NAME_WE)
  file(SIZE ${file} length)
  embed(${file} bytes)
  string(APPEND library_texts "static const char text_${name}[] = ${bytes};\n")
  string(APPEND library_rows "    {\"std/${name}.ssl\", text_${name}, ${length}},\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/library.c @ONLY CONTENT
     "#include \"frontend/library.h\"\n\n@library_texts@\nconst library_file library_files[] = {\n@library_rows@    {NULL, NULL, 0}};\n")
