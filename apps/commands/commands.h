#pragma once

#include "apps/program.h"

/// One function per command, each in the file of its name.
namespace nibble {

Command train_command();
Command eval_command();
Command inspect_command();
Command check_command();
Command predict_command();
Command import_command();
Command bench_command();
Command reference_command();

}  // namespace nibble
