#include "layers/state_limit.h"

#include "core/error.h"

namespace nibble {

namespace {

thread_local StateLimit* current = nullptr;

}  // namespace

StateLimit::StateLimit(int64_t bytes) : left_(bytes), outer_(current) { current = this; }

StateLimit::~StateLimit() { current = outer_; }

bool StateLimit::active() { return current != nullptr; }

void StateLimit::take(const char* who, int64_t bytes) {
  if (current == nullptr) return;
  NIBBLE_CHECK(bytes <= current->left_, who, ": its options ask for ", bytes,
               " bytes of state, but the file's tensors ", "have only ", current->left_, " more");
  current->left_ -= bytes;
}

}  // namespace nibble
