# version() and build_id() of <shori/util/build_info.h>: version, commit, compiler and libtorch of this very build. The source is
# made at every build but written only when the commit changed, so an unchanged tree compiles nothing.

find_program(SHORI_GIT git)

set(_build_info_arguments
    "-DTEMPLATE=${CMAKE_SOURCE_DIR}/cmake/build_info.cpp.in" "-DOUTPUT=${CMAKE_BINARY_DIR}/generated/build_info.cpp"
    "-DSOURCE_DIR=${CMAKE_SOURCE_DIR}" "-DGIT=${SHORI_GIT}" "-DVERSION=${PROJECT_VERSION}"
    "-DCOMPILER=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}" "-DTORCH_VERSION=${SHORI_TORCH_VERSION}"
    -P "${CMAKE_SOURCE_DIR}/cmake/WriteBuildInfo.cmake")

# Adds the generated source to one layer.
function(shori_add_build_info layer)
  get_target_property(type shori_${layer} TYPE)
  if(type STREQUAL "INTERFACE_LIBRARY")
    return()
  endif()
  execute_process(COMMAND "${CMAKE_COMMAND}" ${_build_info_arguments} COMMAND_ERROR_IS_FATAL ANY)
  add_custom_target(shori_build_info COMMAND "${CMAKE_COMMAND}" ${_build_info_arguments}
                    BYPRODUCTS "${CMAKE_BINARY_DIR}/generated/build_info.cpp" COMMENT "Build identity" VERBATIM)
  target_sources(shori_${layer} PRIVATE "${CMAKE_BINARY_DIR}/generated/build_info.cpp")
  add_dependencies(shori_${layer} shori_build_info)
endfunction()
