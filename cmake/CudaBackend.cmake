# The device backend `cuda`: every kernel by nvcc, and kernels/cuda/*.cpp beside them.
#
# SHORI_CUDA: AUTO (where nvcc 13 is found: on PATH, in /usr/local/cuda, or from the wheels beside torch), ON (or it is an error),
# OFF. Sets SHORI_CUDA_FOUND and, where it is off, SHORI_CUDA_REASON.
#
# CMake's own CUDA language is not used: CMake 3.25 knows no C++20 flag for nvcc, wants the toolkit's libraries in folders that the
# wheels do not have, and hides what ptxas reports, which scripts/check_ptxas.py reads. Headers come from nvcc's toolkit, else from
# the wheels; libraries from the wheels only, so that a process never maps two copies of one.

set(SHORI_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO, ON, OFF")
set_property(CACHE SHORI_CUDA PROPERTY STRINGS AUTO ON OFF)
# GA100, GA10x (RTX 30), AD10x (RTX 40), H100/H200, GB20x (RTX 50); what is newer compiles the 90 code when it is loaded.
set(CMAKE_CUDA_ARCHITECTURES "80-real;86-real;89-real;90-real;120-real;90-virtual" CACHE STRING
    "GPU architectures: machine code (NN-real), code for newer cards (NN-virtual), or both (NN)")

set(SHORI_CUDA_FOUND FALSE)
set(SHORI_CUDA_REASON "")
get_filename_component(_site "${SHORI_TORCH_ROOT}" DIRECTORY)
set(_wheel "${_site}/nvidia/cu13")

# The first nvcc of the release that libtorch was built with.
set(_seen "")
find_program(_nvcc_on_path nvcc NO_CACHE)
foreach(_nvcc IN ITEMS ${SHORI_NVCC} ${_nvcc_on_path} /usr/local/cuda/bin/nvcc "${_wheel}/bin/nvcc")
  if(EXISTS "${_nvcc}")
    execute_process(COMMAND "${_nvcc}" --version OUTPUT_VARIABLE _text ERROR_QUIET)
    if(_text MATCHES "release 13\\.[0-9]+, V([0-9.]+)")
      set(SHORI_NVCC_VERSION "${CMAKE_MATCH_1}")
      set(SHORI_NVCC "${_nvcc}" CACHE FILEPATH "nvcc, release 13" FORCE)
      break()
    endif()
    list(APPEND _seen "${_nvcc}")
  endif()
endforeach()

if(SHORI_CUDA STREQUAL "OFF")
  set(SHORI_CUDA_REASON "SHORI_CUDA is OFF")
elseif(NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(SHORI_CUDA_REASON "nvcc is used with g++ only, the compiler is ${CMAKE_CXX_COMPILER_ID}")
elseif(NOT SHORI_NVCC_VERSION AND _seen)
  set(SHORI_CUDA_REASON "libtorch ${SHORI_TORCH_VERSION} needs nvcc 13, another was found: ${_seen}; scripts/setup.sh --cuda installs it")
elseif(NOT SHORI_NVCC_VERSION)
  set(SHORI_CUDA_REASON "nvcc was not found; scripts/setup.sh --cuda installs it")
else()
  # nvcc itself says where its headers are: what was found may be a wrapper of another folder.
  execute_process(COMMAND "${SHORI_NVCC}" --dryrun -x cu -E /dev/null OUTPUT_VARIABLE _text ERROR_VARIABLE _text)
  string(REGEX MATCH "TOP=([^\n]+)" _match "${_text}")
  set(_toolkit "${CMAKE_MATCH_1}")
  find_path(_runtime_include cuda_runtime_api.h PATHS "${_toolkit}/include" "${_toolkit}/targets/x86_64-linux/include"
            "${_wheel}/include" NO_DEFAULT_PATH NO_CACHE)
  find_path(_cublas_include cublasLt.h PATHS "${_runtime_include}" "${_wheel}/include" NO_DEFAULT_PATH NO_CACHE)
  if(NOT _runtime_include)
    set(SHORI_CUDA_REASON "no cuda_runtime_api.h beside ${SHORI_NVCC} or in ${_wheel}")
  elseif(NOT _cublas_include)
    set(SHORI_CUDA_REASON "no cublasLt.h beside ${SHORI_NVCC} or in ${_wheel}; scripts/setup.sh --cuda installs it")
  elseif(NOT EXISTS "${SHORI_TORCH_ROOT}/lib/libc10_cuda.so" OR NOT EXISTS "${_wheel}/lib/libcudart.so.13")
    set(SHORI_CUDA_REASON "no libc10_cuda.so in ${SHORI_TORCH_ROOT}/lib or no libcudart.so.13 in ${_wheel}/lib")
  else()
    set(SHORI_CUDA_FOUND TRUE)
    file(REAL_PATH "${_runtime_include}" _runtime_include)
    file(REAL_PATH "${_cublas_include}" _cublas_include)
    set(SHORI_CUDA_INCLUDES "${_runtime_include}" "${_cublas_include}")
    list(REMOVE_DUPLICATES SHORI_CUDA_INCLUDES)
  endif()
endif()

if(NOT SHORI_CUDA_FOUND)
  if(SHORI_CUDA STREQUAL "ON")
    message(FATAL_ERROR "The CUDA backend cannot be built: ${SHORI_CUDA_REASON}.")
  endif()
  message(STATUS "CUDA backend: off (${SHORI_CUDA_REASON})")

  # shori_cuda(TARGET): a CPU build.
  function(shori_cuda target)
  endfunction()
  return()
endif()
message(STATUS "CUDA backend: nvcc ${SHORI_NVCC_VERSION} (${SHORI_NVCC}) for ${CMAKE_CUDA_ARCHITECTURES}")

# Cards of one major version share the code of its first (compute_80 for 80, 86 and 89), from which ptxas makes each one's machine
# code: the kernels ask for nothing that a later card of it adds, and nvcc's front end takes longer than ptxas.
set(_gencode "")
set(_majors "")
foreach(_architecture IN LISTS CMAKE_CUDA_ARCHITECTURES)
  if(NOT _architecture MATCHES "^([0-9]+)(-real|-virtual)?$")
    message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES: '${_architecture}' is not NN, NN-real or NN-virtual")
  endif()
  math(EXPR _major "${CMAKE_MATCH_1} / 10")
  list(APPEND _majors ${_major})
  if(NOT CMAKE_MATCH_2 STREQUAL "-virtual")
    list(APPEND _codes_${_major} "sm_${CMAKE_MATCH_1}")
  endif()
  if(NOT CMAKE_MATCH_2 STREQUAL "-real")
    list(APPEND _codes_${_major} "compute_${_major}0")
  endif()
endforeach()
list(REMOVE_DUPLICATES _majors)
foreach(_major IN LISTS _majors)
  list(JOIN _codes_${_major} "," _codes)
  list(APPEND _gencode "-gencode=arch=compute_${_major}0,code=[${_codes}]")
endforeach()

# One rounding a written operation, as on the host (cmake/CompilerOptions.cmake). Compressed, because five architectures of machine
# code are most of a program.
set(_flags --compress-mode=size -std=c++20 --fmad=false --expt-relaxed-constexpr -O2 -Xptxas=-v
           -I${CMAKE_SOURCE_DIR} -I${CMAKE_SOURCE_DIR}/include -ccbin=${CMAKE_CXX_COMPILER} -D_GLIBCXX_ASSERTIONS
           -Xcompiler=-ffp-contract=off,-fPIE,-fstack-protector-strong,-Wall)
if(SHORI_WERROR)
  list(APPEND _flags -Werror=all-warnings)
endif()

# Each kernel file to an object, with ptxas' report beside it.
set(SHORI_PTXAS_REPORTS "${CMAKE_BINARY_DIR}/kernels_cuda")
file(MAKE_DIRECTORY "${SHORI_PTXAS_REPORTS}")
file(GLOB_RECURSE _kernels CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/kernels/*.cu")
set(SHORI_CUDA_OBJECTS "")
foreach(_kernel IN LISTS _kernels)
  get_filename_component(_stem "${_kernel}" NAME_WE)
  set(_object "${SHORI_PTXAS_REPORTS}/${_stem}.o")
  add_custom_command(
    OUTPUT "${_object}" BYPRODUCTS "${SHORI_PTXAS_REPORTS}/${_stem}.ptxas" DEPENDS "${_kernel}" DEPFILE "${_object}.d"
    COMMAND sh "${CMAKE_SOURCE_DIR}/cmake/compile_kernel.sh" "${SHORI_PTXAS_REPORTS}/${_stem}.ptxas" ${SHORI_CCACHE} "${SHORI_NVCC}"
            ${_flags} ${_gencode} -MD -MF "${_object}.d" -c "${_kernel}" -o "${_object}"
    COMMENT "nvcc ${_stem}.cu" VERBATIM)
  list(APPEND SHORI_CUDA_OBJECTS "${_object}")
endforeach()
add_custom_target(kernels_cuda DEPENDS ${SHORI_CUDA_OBJECTS})
set_source_files_properties(${SHORI_CUDA_OBJECTS} PROPERTIES GENERATED TRUE EXTERNAL_OBJECT TRUE)

file(GLOB _sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/kernels/cuda/*.cpp")
add_library(backend_cuda OBJECT ${_sources})
target_include_directories(backend_cuda PRIVATE "${CMAKE_SOURCE_DIR}")
target_include_directories(backend_cuda SYSTEM PRIVATE ${SHORI_CUDA_INCLUDES})
list(JOIN CMAKE_CUDA_ARCHITECTURES "," _architectures)
target_compile_definitions(backend_cuda PRIVATE "SHORI_CUDA_ARCHITECTURES=\"${_architectures}\""
                                                "SHORI_TORCH_VERSION=\"${SHORI_TORCH_VERSION}\"")
target_link_libraries(backend_cuda PRIVATE shori_ops)
shori_use_pch(backend_cuda)

# shori_cuda(TARGET): links TARGET with the GPU as its device. libtorch_cuda and cuBLASLt are not linked: loading them takes longer
# than everything else a program does at its start, so open_device() does it (kernels/cuda/late_libraries.h).
function(shori_cuda target)
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:backend_cuda> ${SHORI_CUDA_OBJECTS})
  add_dependencies(${target} kernels_cuda)
  target_link_libraries(${target} PRIVATE "${SHORI_TORCH_ROOT}/lib/libc10_cuda.so" "${_wheel}/lib/libcudart.so.13" ${CMAKE_DL_LIBS})
  set_property(TARGET ${target} APPEND PROPERTY BUILD_RPATH "${SHORI_TORCH_ROOT}/lib" "${_wheel}/lib")
  set_property(TARGET ${target} APPEND PROPERTY INSTALL_RPATH "${SHORI_TORCH_ROOT}/lib" "${_wheel}/lib")
endfunction()
