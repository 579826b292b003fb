# The layers as libraries, and the programs over them.

# Target whose only purpose is the precompiled <ATen/ATen.h> that all sources using libtorch share (19 s -> 2 s a source).
if(SHORI_PCH)
  file(WRITE "${CMAKE_BINARY_DIR}/generated/shori_pch.cpp.new" "// Carrier of the shared precompiled header.\n")
  file(COPY_FILE "${CMAKE_BINARY_DIR}/generated/shori_pch.cpp.new" "${CMAKE_BINARY_DIR}/generated/shori_pch.cpp" ONLY_IF_DIFFERENT)
  add_library(shori_pch STATIC "${CMAKE_BINARY_DIR}/generated/shori_pch.cpp")
  target_link_libraries(shori_pch PRIVATE shori_torch)
  target_precompile_headers(shori_pch PRIVATE <ATen/ATen.h>)
endif()

# The headers of the standard library that most sources read, compiled once in the same way.
set(SHORI_STD_HEADERS <algorithm> <array> <charconv> <cmath> <cstdint> <cstring> <functional> <map> <memory> <optional> <set> <span>
                      <string> <string_view> <unordered_map> <utility> <vector>)
if(SHORI_PCH)
  add_library(shori_std_pch STATIC "${CMAKE_BINARY_DIR}/generated/shori_pch.cpp")
  target_precompile_headers(shori_std_pch PRIVATE ${SHORI_STD_HEADERS})
  # A precompiled header serves only the options that it was compiled with: libtorch brings -fopenmp.
  add_library(shori_std_torch_pch STATIC "${CMAKE_BINARY_DIR}/generated/shori_pch.cpp")
  target_link_libraries(shori_std_torch_pch PRIVATE shori_torch)
  target_precompile_headers(shori_std_torch_pch PRIVATE ${SHORI_STD_HEADERS})
  set(SHORI_STD_TORCH_PCH "${CMAKE_BINARY_DIR}/CMakeFiles/shori_std_torch_pch.dir/cmake_pch.hxx")
endif()

# Lets the sources of TARGET that use libtorch share its precompiled header. Reading it takes 2 s, so the others read that of the standard
# library: those that neither include libtorch nor a header of the tests that does. (A source missed here compiles all the same,
# slowly.) CMake knows one precompiled header for a target, so that of the others is an option of each source.
function(shori_use_pch target)
  if(NOT SHORI_PCH)
    return()
  endif()
  target_precompile_headers(${target} REUSE_FROM shori_pch)
  get_target_property(sources ${target} SOURCES)
  foreach(source IN LISTS sources)
    if(source MATCHES "\\.cpp$")
      cmake_path(ABSOLUTE_PATH source OUTPUT_VARIABLE path)
      if(EXISTS "${path}")
        file(READ "${path}" text)
        if(NOT text MATCHES "#include (<(ATen|c10|torch)/|\"tests/support/(ops_matrix|ops_linear|reference_mistral)\\.h)")
          set_source_files_properties("${path}" TARGET_DIRECTORY ${target} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
          if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
            set_source_files_properties("${path}" TARGET_DIRECTORY ${target} PROPERTIES
                                        COMPILE_OPTIONS "-include;${SHORI_STD_TORCH_PCH}"
                                        OBJECT_DEPENDS "${SHORI_STD_TORCH_PCH}.gch")
          endif()
        endif()
      endif()
    endif()
  endforeach()
endfunction()

# shori_layer(NAME [LINK LAYER...] [TORCH] [FOLDER folder] [HEADERS header...]): library shori_NAME of all .cpp files under src/NAME (or
# FOLDER) but the programs' *_main.cpp. HEADERS are precompiled for this layer alone. A layer without sources is an INTERFACE library
# that only hands its links on.
function(shori_layer name)
  cmake_parse_arguments(layer "TORCH" "FOLDER" "LINK;HEADERS" ${ARGN})
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
  elseif(layer_HEADERS AND SHORI_PCH)
    target_precompile_headers(shori_${name} PRIVATE ${layer_HEADERS})
  elseif(sources AND SHORI_PCH)
    target_precompile_headers(shori_${name} REUSE_FROM shori_std_pch)
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

# shori_program(NAME SOURCE [LINK LAYER...] [TORCH]): a user's program over the cli layer and others, which `cmake --install` copies.
function(shori_program name source)
  cmake_parse_arguments(program "TORCH" "" "LINK" ${ARGN})
  list(TRANSFORM program_LINK PREPEND shori_)
  add_executable(${name} ${source})
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE shori_cli ${program_LINK})
  install(TARGETS ${name} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
  if(program_TORCH)
    shori_use_pch(${name})
    # An installed program finds libtorch where it was built with it: that folder has to stay.
    set_property(TARGET ${name} APPEND PROPERTY INSTALL_RPATH "${SHORI_TORCH_ROOT}/lib")
  endif()
endfunction()
