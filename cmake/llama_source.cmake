# corral_llama_source, without the targets of llama.cmake: for headers of its vendor/ where llama.cpp itself is not built.
# That file finds the same folder by itself: the container image's layer of llama.cpp hangs on it alone.

set(CORRAL_LLAMA_DIR "" CACHE PATH "llama.cpp source of the pinned release (empty: scripts/fetch-llama)")
set(corral_llama_source "${CORRAL_LLAMA_DIR}")
if(corral_llama_source STREQUAL "")
  execute_process(
    COMMAND "${CMAKE_CURRENT_LIST_DIR}/../scripts/fetch-llama"
    OUTPUT_VARIABLE corral_llama_source
    OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND_ERROR_IS_FATAL ANY)
endif()
