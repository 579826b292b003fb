# Programs for a GPU, with tests; an error where nvcc or a CUDA library is missing:
#   cmake -C cmake/presets/cuda.cmake -S . -B build/release -G Ninja && ninja -C build/release
set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
set(SHORI_TESTS ON CACHE BOOL "" FORCE)
set(SHORI_CUDA ON CACHE STRING "" FORCE)
