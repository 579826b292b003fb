# The layers as libraries, and the programs over them.

# Target whose only purpose is the precompiled <ATen/ATen.h> that all sources using libtorch share (19 s -> 2 s a source).
if(SHORI_PCH)
  file(WRITE "${CMAKE_BINARY_DIR}/generated/shori_pch.cpp.new" "// Carrier of the shared precompiled header.\n")
  file(COPY_FILE "${CMAKE_BINARY_DIR}/generated/shori_pch.cpp.new" "${CMAKE_BINARY_DIR}/generated/shori_pch.cpp" ONLY_IF_DIFFERENT)
  add_library(shori_pch STATIC "${CMAKE_BINARY_DIR}/generated/shori_pch.cpp")
  target_link_libraries(shori_pch PRIVATE shori_torch)
  target_precompile_headers(shori_pch PRIVATE <ATen/ATen.h>)
endif()

# Lets TARGET use the shared precompiled header.
function(shori_use_pch target)
  if(SHORI_PCH)
    target_precompile_headers(${target} REUSE_FROM shori_pch)
  endif()
endfunction()

# shori_layer(NAME [LINK LAYER...] [TORCH] [FOLDER folder]): library shori_NAME of all .cpp files under src/NAME (or FOLDER) but the
# programs' *_main.cpp. A layer without sources is an INTERFACE library that only hands its links on.
function(shori_layer name)
  cmake_parse_arguments(layer "TORCH" "FOLDER" "LINK" ${ARGN})
  if(NOT layer_FOLDER)
    set(layer_FOLDER src/${name})
  endif()
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/${layer_FOLDER}/*.cpp")
  # Programs have their mains, and kernels/cuda/ is a device backend (CudaBackend.cmake).
  list(FILTER sources EXCLUDE REGEX "_main\\.cpp$|/kernels/cuda/")
  list(TRANSFORM layer_LINK PREPEND shori_)
  if(sources)
    add_library(shori_${name} STATIC ${sources})
    target_include_directories(shori_${name} PRIVATE "${CMAKE_SOURCE_DIR}")
    set(scope PUBLIC)
  else()
    add_library(shori_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(shori_${name} ${scope} "${CMAKE_SOURCE_DIR}/include")
  target_link_libraries(shori_${name} ${scope} ${layer_LINK})
  if(layer_TORCH)
    target_link_libraries(shori_${name} ${scope} shori_torch)
    if(sources)
      shori_use_pch(shori_${name})
    endif()
  endif()
endfunction()

# shori_link(LAYER [PUBLIC library...] [PRIVATE library...]): third-party libraries of one layer.
function(shori_link name)
  cmake_parse_arguments(link "" "" "PUBLIC;PRIVATE" ${ARGN})
  get_target_property(type shori_${name} TYPE)
  if(type STREQUAL "INTERFACE_LIBRARY")
    target_link_libraries(shori_${name} INTERFACE ${link_PUBLIC})
  else()
    target_link_libraries(shori_${name} PUBLIC ${link_PUBLIC} PRIVATE ${link_PRIVATE})
  endif()
endfunction()

# shori_program(NAME SOURCE [LINK LAYER...] [TORCH]): a user's program over the cli layer and others.
function(shori_program name source)
  cmake_parse_arguments(program "TORCH" "" "LINK" ${ARGN})
  list(TRANSFORM program_LINK PREPEND shori_)
  add_executable(${name} ${source})
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE shori_cli ${program_LINK})
  if(program_TORCH)
    shori_use_pch(${name})
  endif()
endfunction()
