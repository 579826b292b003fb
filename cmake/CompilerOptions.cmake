# Warnings, hardening and the floating-point rules that every source of the project is compiled with.

# One rounding a written operation: the CPU code is the definition of each op, bit for bit. No -march: the same bits on every x86-64.
add_compile_options(-ffp-contract=off)
add_compile_options(-Wall -Wextra)
if(SHORI_WERROR)
  add_compile_options(-Werror)
endif()

# The same -fPIE for libraries and programs, so that all of them can share one precompiled header.
add_compile_options(-fPIE -fstack-protector-strong)
add_link_options(-pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
add_compile_definitions(_GLIBCXX_ASSERTIONS)
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  add_compile_options(-fcf-protection=full)
endif()
# glibc's fortification needs optimization; Ubuntu's compilers set a level of their own.
if(SHORI_FUZZ)
  add_compile_options(-U_FORTIFY_SOURCE -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=address,undefined)
elseif(SHORI_SANITIZE)
  add_compile_options(-U_FORTIFY_SOURCE -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
else()
  add_compile_options($<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE> $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=3>)
endif()

# With a precompiled header ccache keeps an object only under these settings.
find_program(SHORI_CCACHE ccache)
if(SHORI_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros "${SHORI_CCACHE}")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-fpch-preprocess)
  endif()
endif()
