# What scripts/test.sh builds:
#   cmake -C cmake/presets/tests.cmake -S . -B build/release -G Ninja && ninja -C build/release && ctest --test-dir build/release
set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
set(SHORI_TESTS ON CACHE BOOL "" FORCE)
set(SHORI_CUDA AUTO CACHE STRING "" FORCE)
