# The programs as they are shipped, without tests:
#   cmake -C cmake/presets/release.cmake -S . -B build/release -G Ninja && ninja -C build/release
set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
set(SHORI_TESTS OFF CACHE BOOL "" FORCE)
set(SHORI_CUDA AUTO CACHE STRING "" FORCE)
