# corral_module(<room>
#   SOURCES <files>            the room's code, without tests
#   DEPS <rooms>               the rooms it may use; each must have been declared before
#   LIBS <targets>             third-party libraries it uses in public headers
#   PRIVATE_LIBS <targets>     third-party libraries hidden in its .cc files
#   TESTS <files>              *_test.cc, one program <room>_test with label `unit`
#   TEST_LIBS <targets>)       what only the tests use
#
# Layering is code: a room that names a room which is not declared yet, or that is not in its row of
# docs/architecture.md (CORRAL_MAY_USE_<room> below), fails the configure step. tests/structure checks includes.

set(CORRAL_MAY_USE_core "")
set(CORRAL_MAY_USE_gguf core)
set(CORRAL_MAY_USE_templates core)
set(CORRAL_MAY_USE_modelfile core)
set(CORRAL_MAY_USE_models modelfile gguf templates core)
set(CORRAL_MAY_USE_convert gguf core)
set(CORRAL_MAY_USE_engine templates gguf core)
set(CORRAL_MAY_USE_engine_llama engine templates gguf core)
set(CORRAL_MAY_USE_worker core)
set(CORRAL_MAY_USE_worker_host worker engine core)
set(CORRAL_MAY_USE_scheduler worker models core)
set(CORRAL_MAY_USE_http core)
set(CORRAL_MAY_USE_registry models core)
set(CORRAL_MAY_USE_api scheduler registry models modelfile http worker gguf templates core)
set(CORRAL_MAY_USE_cli modelfile core)

function(corral_module room)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;LIBS;PRIVATE_LIBS;TESTS;TEST_LIBS" ${ARGN})
  foreach(dep IN LISTS arg_DEPS)
    if(NOT TARGET corral_${dep})
      message(FATAL_ERROR "room ${room}: '${dep}' is not declared before it")
    endif()
    if(NOT dep IN_LIST CORRAL_MAY_USE_${room})
      message(FATAL_ERROR "room ${room} may not use '${dep}' (docs/architecture.md, cmake/module.cmake)")
    endif()
  endforeach()
  list(TRANSFORM arg_DEPS PREPEND corral_)
  add_library(corral_${room} STATIC ${arg_SOURCES})
  target_link_libraries(corral_${room}
    PUBLIC ${arg_DEPS} corral_flags tl::expected ${arg_LIBS}
    PRIVATE ${arg_PRIVATE_LIBS})
  if(arg_TESTS AND BUILD_TESTING)
    add_executable(${room}_test ${arg_TESTS})
    target_link_libraries(${room}_test PRIVATE corral_${room} ${arg_TEST_LIBS} GTest::gmock GTest::gtest_main)
    set_target_properties(${room}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
    add_test(NAME unit.${room} COMMAND ${room}_test)
    # Bounds a hang; a sanitizer on a busy machine is several times slower.
    set(timeout 120)
    if(CORRAL_SANITIZE)
      set(timeout 400)
    endif()
    set_tests_properties(unit.${room} PROPERTIES LABELS unit TIMEOUT ${timeout})
  endif()
endfunction()
