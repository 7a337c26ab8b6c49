# llama.cpp as a subproject of the pinned source. Only the rooms `engine` and `app` link it (docs/architecture.md).
#
# CORRAL_LLAMA_DIR   folder of the source; empty: scripts/fetch-llama finds or fetches it and checks its git tree id.
# Developer builds are native and static; release packages (CORRAL_PORTABLE_CPU) load one CPU library per instruction set.

set(CORRAL_LLAMA_DIR "" CACHE PATH "llama.cpp source of the pinned release (empty: scripts/fetch-llama)")
option(CORRAL_PORTABLE_CPU "Build every CPU variant as a loadable library instead of one native build" OFF)

set(corral_llama_source "${CORRAL_LLAMA_DIR}")
if(corral_llama_source STREQUAL "")
  execute_process(
    COMMAND "${CMAKE_CURRENT_LIST_DIR}/../scripts/fetch-llama"
    OUTPUT_VARIABLE corral_llama_source
    OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE corral_fetch_result)
  if(NOT corral_fetch_result EQUAL 0)
    message(FATAL_ERROR "scripts/fetch-llama failed; its message is above")
  endif()
endif()

function(corral_add_llama source)
  set(BUILD_SHARED_LIBS OFF)
  set(LLAMA_BUILD_COMMON ON CACHE BOOL "" FORCE)
  set(LLAMA_BUILD_TESTS OFF CACHE BOOL "" FORCE)
  set(LLAMA_BUILD_EXAMPLES OFF CACHE BOOL "" FORCE)
  set(LLAMA_BUILD_TOOLS ON CACHE BOOL "" FORCE) # llama-bench and llama-server, for `make bench` only
  set(LLAMA_BUILD_SERVER ON CACHE BOOL "" FORCE)
  set(MTMD_VIDEO OFF CACHE BOOL "" FORCE) # would run ffmpeg
  set(LLAMA_BUILD_APP OFF CACHE BOOL "" FORCE)
  set(LLAMA_BUILD_UI OFF CACHE BOOL "" FORCE)
  set(LLAMA_USE_PREBUILT_UI OFF CACHE BOOL "" FORCE)
  set(LLAMA_OPENSSL OFF CACHE BOOL "" FORCE)
  set(LLAMA_ALL_WARNINGS OFF CACHE BOOL "" FORCE)
  set(GGML_ALL_WARNINGS OFF CACHE BOOL "" FORCE)
  set(GGML_RPC OFF CACHE BOOL "" FORCE)
  set(GGML_CCACHE OFF CACHE BOOL "" FORCE) # the presets name ccache for the whole build
  if(CORRAL_PORTABLE_CPU)
    set(BUILD_SHARED_LIBS ON)
    set(GGML_NATIVE OFF CACHE BOOL "" FORCE)
    set(GGML_BACKEND_DL ON CACHE BOOL "" FORCE)
    set(GGML_CPU_ALL_VARIANTS ON CACHE BOOL "" FORCE)
  endif()
  if(CORRAL_SANITIZE STREQUAL "thread")
    set(GGML_OPENMP OFF CACHE BOOL "" FORCE)
  endif()
  # llama.cpp's own optimisation level, without debug information: it halves build time and disk.
  set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O3 -DNDEBUG")
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O3 -DNDEBUG")
  add_subdirectory("${source}" "${CMAKE_BINARY_DIR}/llama.cpp" EXCLUDE_FROM_ALL SYSTEM)
  target_compile_options(mtmd PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-deprecated-enum-enum-conversion>)
endfunction()
corral_add_llama("${corral_llama_source}")

# corral_install_llama(): the shared libraries of a portable build go into lib/corral, beside corral-worker, which finds them
# and the CPU variants there. Component `llama`: they change with the pin only.
function(corral_install_llama)
  if(NOT CORRAL_PORTABLE_CPU)
    return()
  endif()
  set(libraries llama llama-common mtmd ggml ggml-base)
  set_property(TARGET ${libraries} PROPERTY PUBLIC_HEADER) # no headers in a package
  set_target_properties(${libraries} PROPERTIES INSTALL_RPATH "$ORIGIN")
  install(TARGETS ${libraries} LIBRARY DESTINATION lib/corral COMPONENT llama NAMELINK_SKIP)
  get_property(backends CACHE GGML_AVAILABLE_BACKENDS PROPERTY VALUE)
  foreach(backend IN LISTS backends)
    set_property(TARGET ${backend} PROPERTY VERSION) # ggml looks for lib<backend>.so, not for a link to it
    set_property(TARGET ${backend} PROPERTY SOVERSION)
    set_property(TARGET ${backend} PROPERTY INSTALL_RPATH "$ORIGIN")
    install(TARGETS ${backend} LIBRARY DESTINATION lib/corral COMPONENT llama)
  endforeach()
endfunction()
