#include <signal.h>
#include <unistd.h>

#include <iostream>

#include "apps/program.h"

int main(int argc, char** argv) {
  signal(SIGXFSZ, SIG_IGN);  // so that a write past the file size limit is an error with a message
  nibble::Console console{std::cout, std::cerr, isatty(STDERR_FILENO) != 0};
  return nibble::run_program({argv + 1, argv + argc}, console);
}
