# apache_license() of src/export/release/license_text.h: a source made of LICENSE, so that the text stands in one file.

# Adds the generated source to one layer.
function(shori_add_license_text layer)
  set(source "${CMAKE_BINARY_DIR}/generated/license_text.cpp")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/LICENSE")
  file(READ "${CMAKE_SOURCE_DIR}/LICENSE" SHORI_LICENSE_TEXT)
  configure_file("${CMAKE_SOURCE_DIR}/cmake/license_text.cpp.in" "${source}" @ONLY)
  target_sources(shori_${layer} PRIVATE "${source}")
endfunction()
