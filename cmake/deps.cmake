# Libraries (Debian 12's packages), shared compile flags and pins. One place: rooms only name targets.
find_package(Threads REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(fmt 9 REQUIRED)
find_package(spdlog 1.10 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(tl-expected REQUIRED)
find_package(CLI11 2.1 REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED COMPONENTS core)
find_package(CURL 7.88 REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_library(CORRAL_SECCOMP_LIBRARY seccomp REQUIRED) # libseccomp-dev has no CMake package; rooms link `seccomp`
mark_as_advanced(CORRAL_SECCOMP_LIBRARY)
# Static: the worker alone decodes WebP, in a confined process, and an image without it is the smaller one.
find_library(CORRAL_WEBP_LIBRARY libwebp.a REQUIRED)
mark_as_advanced(CORRAL_WEBP_LIBRARY)
if(BUILD_TESTING)
  find_package(GTest 1.12 REQUIRED)
endif()

add_library(corral_flags INTERFACE)
target_compile_options(corral_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
  $<$<BOOL:${CORRAL_WERROR}>:-Werror>)
target_include_directories(corral_flags INTERFACE "${CMAKE_SOURCE_DIR}/src")
target_compile_definitions(corral_flags INTERFACE SPDLOG_FMT_EXTERNAL SPDLOG_COMPILED_LIB)
if(CORRAL_SANITIZE)
  add_compile_options(-fsanitize=${CORRAL_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${CORRAL_SANITIZE})
  if(CORRAL_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()
if(CORRAL_FUZZ) # coverage of all our code for the fuzzers to steer by
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# Asio and Beast: no deprecated names, C++20 coroutines, errors as values.
add_library(corral_asio INTERFACE)
target_include_directories(corral_asio SYSTEM INTERFACE ${Boost_INCLUDE_DIRS})
target_compile_definitions(corral_asio INTERFACE BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_BOOST_DATE_TIME)
# GCC 12 takes the frame of every awaitable for a mismatch: false, its operator new and delete belong together.
target_compile_options(corral_asio INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-mismatched-new-delete>)
target_link_libraries(corral_asio INTERFACE Threads::Threads OpenSSL::SSL OpenSSL::Crypto)
