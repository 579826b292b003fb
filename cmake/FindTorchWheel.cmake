# Finds libtorch as the PyPI wheel of torch carries it and makes the target shori_torch (CPU part: c10, torch_cpu).
#
# Looks into SHORI_TORCH_DIR (the folder holding include/ and lib/, for a wheel <site-packages>/torch), else into the virtual
# environment of scripts/setup.sh. find_package(Torch) of the wheel is not used: it enables CUDA and rewrites its flags.
# Sets SHORI_TORCH_ROOT, SHORI_TORCH_VERSION, SHORI_TORCH_LIBRARY_DIRS.

set(_wanted 2.11.0)
set(_folder_of_torch "import importlib.util as u; print(u.find_spec(\"torch\").submodule_search_locations[0])")
set(_what_to_do "What to do, one of:
  - run scripts/setup.sh, which installs torch ${_wanted} into ${SHORI_DEPS_DIR}/venv;
  - in an environment of your own:  pip install torch==${_wanted}
    and give its folder:  cmake -DSHORI_TORCH_DIR=$(python3 -c '${_folder_of_torch}') ...")

if(SHORI_TORCH_DIR)
  get_filename_component(SHORI_TORCH_ROOT "${SHORI_TORCH_DIR}" ABSOLUTE)
else()
  file(GLOB _found "${SHORI_DEPS_DIR}/venv/lib/python3*/site-packages/torch")
  list(LENGTH _found _count)
  if(_count EQUAL 0)
    message(FATAL_ERROR "libtorch ${_wanted} is missing: no torch package in ${SHORI_DEPS_DIR}/venv, and SHORI_TORCH_DIR is not set.\n"
                        "${_what_to_do}")
  elseif(_count GREATER 1)
    message(FATAL_ERROR "More than one torch package in ${SHORI_DEPS_DIR}/venv: ${_found}.\n"
                        "Remove ${SHORI_DEPS_DIR}/venv and run scripts/setup.sh again.")
  endif()
  set(SHORI_TORCH_ROOT "${_found}")
endif()

foreach(_file include/ATen/ATen.h include/torch/csrc/api/include/torch/version.h lib/libc10.so lib/libtorch_cpu.so)
  if(NOT EXISTS "${SHORI_TORCH_ROOT}/${_file}")
    message(FATAL_ERROR "No libtorch in ${SHORI_TORCH_ROOT}: ${_file} is missing there.\n${_what_to_do}")
  endif()
endforeach()

# The version stands in torch/headeronly/version.h of new and in torch/version.h of old releases.
set(SHORI_TORCH_VERSION "")
foreach(_file include/torch/headeronly/version.h include/torch/csrc/api/include/torch/version.h)
  if(NOT SHORI_TORCH_VERSION AND EXISTS "${SHORI_TORCH_ROOT}/${_file}")
    file(READ "${SHORI_TORCH_ROOT}/${_file}" _text)
    if(_text MATCHES "#define TORCH_VERSION[ \\\r\n]+\"([^\"]+)\"")
      set(SHORI_TORCH_VERSION "${CMAKE_MATCH_1}")
    endif()
  endif()
endforeach()
if(NOT SHORI_TORCH_VERSION STREQUAL _wanted)
  message(FATAL_ERROR "libtorch in ${SHORI_TORCH_ROOT} is version '${SHORI_TORCH_VERSION}', this project is built and tested with "
                      "${_wanted} only.\n${_what_to_do}")
endif()

# A wheel names its NVIDIA libraries by $ORIGIN/../../nvidia/...; the linker needs the same folders to look through them.
get_filename_component(_site "${SHORI_TORCH_ROOT}" DIRECTORY)
file(GLOB _nvidia_dirs "${_site}/nvidia/*/lib")
set(SHORI_TORCH_LIBRARY_DIRS "${SHORI_TORCH_ROOT}/lib" ${_nvidia_dirs})

add_library(shori_torch INTERFACE)
target_include_directories(shori_torch SYSTEM INTERFACE "${SHORI_TORCH_ROOT}/include"
                                                        "${SHORI_TORCH_ROOT}/include/torch/csrc/api/include")
target_link_libraries(shori_torch INTERFACE "${SHORI_TORCH_ROOT}/lib/libtorch_cpu.so" "${SHORI_TORCH_ROOT}/lib/libc10.so")
# Without -fopenmp the ops (kernels/cpu/parallel.h) and libtorch's header templates compile to serial loops. The runtime is the wheel's
# own libgomp, so that a program has one thread pool; -fopenmp is left out of the link because it would add the compiler's.
target_compile_options(shori_torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
file(GLOB _gomp "${SHORI_TORCH_ROOT}/lib/libgomp*.so*")
list(LENGTH _gomp _count)
if(NOT _count EQUAL 1)
  message(FATAL_ERROR "Expected one libgomp in ${SHORI_TORCH_ROOT}/lib, found: '${_gomp}'.\n${_what_to_do}")
endif()
target_link_libraries(shori_torch INTERFACE "${_gomp}")
foreach(_dir ${SHORI_TORCH_LIBRARY_DIRS})
  target_link_options(shori_torch INTERFACE "LINKER:-rpath-link,${_dir}")
endforeach()
list(APPEND CMAKE_BUILD_RPATH "${SHORI_TORCH_ROOT}/lib")

set(TorchWheel_FOUND TRUE)
message(STATUS "libtorch ${SHORI_TORCH_VERSION}: ${SHORI_TORCH_ROOT}")
