# libFuzzer programs of the readers, with clang:
#   cmake -C cmake/presets/fuzz.cmake -S . -B build/fuzz -G Ninja && ninja -C build/fuzz fuzz_blockml fuzz_jsonl fuzz_import fuzz_yaml
set(CMAKE_CXX_COMPILER clang++ CACHE STRING "")
set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
set(SHORI_TESTS ON CACHE BOOL "" FORCE)
set(SHORI_FUZZ ON CACHE BOOL "" FORCE)
set(SHORI_CUDA OFF CACHE STRING "" FORCE)
