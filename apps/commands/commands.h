#pragma once

#include "apps/program.h"

/// One function per command, each in the file of its name.
namespace nibble {

Command train_command();
Command init_command();
Command eval_command();
Command inspect_command();
Command check_command();
Command quantize_command();
Command audit_command();
Command pack_command();
Command lower_command();
Command verify_command();
Command predict_command();
Command import_command();
Command bench_command();
Command profile_command();
Command evidence_command();
Command results_command();
Command reference_command();

}  // namespace nibble
