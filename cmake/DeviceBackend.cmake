# The device backends that a program can be linked with (include/shori/util/device.h). `none` is what shori_util holds; the
# objects of another backend stand before it in the link and so take its place.

# shori_emulated_kernels(TARGET SOURCE.cu...): object library of kernel files as the host compiler takes them, for the CUDA emulator of
# the tests. Each goes through a generated one-line .cpp, since CMake would give a .cu file to nvcc.
function(shori_emulated_kernels target)
  add_library(${target} OBJECT)
  foreach(source IN LISTS ARGN)
    get_filename_component(stem "${source}" NAME_WE)
    set(wrapper "${CMAKE_BINARY_DIR}/generated/emulated/${target}/${stem}.cpp")
    file(CONFIGURE OUTPUT "${wrapper}" CONTENT "#include \"${source}\"\n")
    target_sources(${target} PRIVATE "${wrapper}")
  endforeach()
  target_compile_definitions(${target} PRIVATE SHORI_CUDA_EMULATOR=1)
  target_include_directories(${target} PRIVATE "${CMAKE_SOURCE_DIR}" "${CMAKE_SOURCE_DIR}/include"
                                               "${CMAKE_SOURCE_DIR}/tests/cuda_emulator")
  target_compile_options(${target} PRIVATE -Wno-unknown-pragmas)
endfunction()
