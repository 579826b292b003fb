# Everything under the address and undefined behaviour sanitizers (the `sanitize` tests of a normal build cover the layers that know
# nothing of libtorch):
#   cmake -C cmake/presets/sanitize.cmake -S . -B build/sanitize -G Ninja && ninja -C build/sanitize
#   ctest --test-dir build/sanitize -L unit
set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
set(SHORI_TESTS ON CACHE BOOL "" FORCE)
set(SHORI_SANITIZE ON CACHE BOOL "" FORCE)
set(SHORI_CUDA OFF CACHE STRING "" FORCE)
