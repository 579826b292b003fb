# Script mode: writes OUTPUT from TEMPLATE with the commit of SOURCE_DIR. "-dirty" marks changes in what the binaries are made of.

set(COMMIT "unknown")
if(GIT)
  execute_process(COMMAND "${GIT}" --no-optional-locks rev-parse --short=12 HEAD WORKING_DIRECTORY "${SOURCE_DIR}"
                  OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
  if(status EQUAL 0)
    set(COMMIT "${head}")
    execute_process(COMMAND "${GIT}" --no-optional-locks status --porcelain -- CMakeLists.txt cmake include src kernels
                    WORKING_DIRECTORY "${SOURCE_DIR}" OUTPUT_VARIABLE changes ERROR_QUIET)
    if(changes)
      string(APPEND COMMIT "-dirty")
    endif()
  endif()
endif()
configure_file("${TEMPLATE}" "${OUTPUT}" @ONLY)
