#include <unistd.h>

#include <cstdlib>

#include "apps/program.h"
#include "core/blas.h"

namespace {

/// OpenBLAS reads its variable while the program is loaded, so the program starts itself again to change it. If that
/// fails it runs as it is, and says so in the header of every run.
void restart_with_best_blas(char** argv) {
  if (std::getenv("OPENBLAS_CORETYPE") != nullptr) return;
  const std::string core = nibble::better_blas_core();
  if (core.empty()) return;
  setenv("OPENBLAS_CORETYPE", core.c_str(), 1);
  execv("/proc/self/exe", argv);
}

}  // namespace

int main(int argc, char** argv) {
  restart_with_best_blas(argv);
  return nibble::run_program(argc, argv);
}
