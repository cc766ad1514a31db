#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "third_party/doctest.h"

/// Read by the leak sanitizer: LLVM's OpenMP loses its old list of threads whenever a team grows.
extern "C" const char* __lsan_default_suppressions() { return "leak:libomp.so"; }
