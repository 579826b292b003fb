# Everything but libtorch: sentencepiece and yaml-cpp static, cpp-httplib and libedit as the system has them, the others as headers.
# One message names all that is missing.

find_path(SHORI_NLOHMANN_INCLUDE nlohmann/json.hpp)
find_path(SHORI_CLI11_INCLUDE CLI/CLI.hpp)
find_path(SHORI_SPDLOG_INCLUDE spdlog/spdlog.h)
find_path(SHORI_FMT_INCLUDE fmt/format.h)
find_path(SHORI_YAML_CPP_INCLUDE yaml-cpp/yaml.h)
find_library(SHORI_YAML_CPP_LIBRARY libyaml-cpp.a)
find_path(SHORI_SENTENCEPIECE_INCLUDE sentencepiece_processor.h PATHS "${SHORI_DEPS_DIR}/sentencepiece/include" NO_DEFAULT_PATH)
find_library(SHORI_SENTENCEPIECE_LIBRARY libsentencepiece.a PATHS "${SHORI_DEPS_DIR}/sentencepiece/lib" NO_DEFAULT_PATH)
find_package(Threads REQUIRED)
# Debian builds cpp-httplib as a library with OpenSSL, zlib and brotli; its classes have their layout only with its flags.
find_package(PkgConfig)
if(PKG_CONFIG_FOUND)
  pkg_check_modules(SHORI_HTTPLIB IMPORTED_TARGET GLOBAL cpp-httplib>=0.11)
  pkg_check_modules(SHORI_LIBEDIT IMPORTED_TARGET GLOBAL libedit>=3.1)
endif()

set(_missing "")
foreach(_row "SHORI_NLOHMANN_INCLUDE;nlohmann/json (package nlohmann-json3-dev)" "SHORI_CLI11_INCLUDE;CLI11 (package libcli11-dev)"
             "SHORI_SPDLOG_INCLUDE;spdlog (package libspdlog-dev)" "SHORI_FMT_INCLUDE;fmt (package libfmt-dev)"
             "SHORI_YAML_CPP_INCLUDE;yaml-cpp headers (package libyaml-cpp-dev)"
             "SHORI_YAML_CPP_LIBRARY;yaml-cpp static library (package libyaml-cpp-dev)"
             "SHORI_HTTPLIB_FOUND;cpp-httplib (packages libcpp-httplib-dev and pkg-config)"
             "SHORI_LIBEDIT_FOUND;libedit (packages libedit-dev and pkg-config)"
             "SHORI_SENTENCEPIECE_INCLUDE;sentencepiece header (made by scripts/setup.sh)"
             "SHORI_SENTENCEPIECE_LIBRARY;sentencepiece static library (made by scripts/setup.sh)")
  list(GET _row 0 _variable)
  list(GET _row 1 _name)
  if(NOT ${_variable})
    string(APPEND _missing "  - ${_name}\n")
  endif()
endforeach()
if(_missing)
  message(FATAL_ERROR "Missing for the build:\n${_missing}Run scripts/setup.sh, which installs all of them, then configure again.")
endif()

function(shori_header_only name include_dir)
  add_library(${name} INTERFACE IMPORTED GLOBAL)
  target_include_directories(${name} SYSTEM INTERFACE "${include_dir}")
endfunction()
shori_header_only(nlohmann_json::nlohmann_json "${SHORI_NLOHMANN_INCLUDE}")
shori_header_only(CLI11::CLI11 "${SHORI_CLI11_INCLUDE}")

add_library(yaml-cpp-static STATIC IMPORTED GLOBAL)
set_target_properties(yaml-cpp-static PROPERTIES IMPORTED_LOCATION "${SHORI_YAML_CPP_LIBRARY}"
                                                 INTERFACE_INCLUDE_DIRECTORIES "${SHORI_YAML_CPP_INCLUDE}")

# libtorch_cpu exports its own, different protobuf: ours must not be exported over it.
add_library(sentencepiece-static STATIC IMPORTED GLOBAL)
set_target_properties(sentencepiece-static PROPERTIES IMPORTED_LOCATION "${SHORI_SENTENCEPIECE_LIBRARY}"
                                                      INTERFACE_INCLUDE_DIRECTORIES "${SHORI_SENTENCEPIECE_INCLUDE}"
                                                      INTERFACE_LINK_LIBRARIES Threads::Threads
                                                      INTERFACE_LINK_OPTIONS "LINKER:--exclude-libs,libsentencepiece.a")
