#include <cstdio>
#include <exception>

#include "layers/checkpoint.h"

namespace {

/// Writes every output of the checkpoint's network for the tensor "input" of the second file, (N, H, W, C), as
/// "output0", "output1", ... Throws Error on files that do not fit.
void forward(const std::string& checkpoint, const std::string& input, const std::string& output) {
  const nibble::Graph graph = nibble::load_checkpoint(checkpoint).graph;
  const nibble::TensorFile file = nibble::read_safetensors(input);
  const nibble::Tensor* x = file.find("input");
  NIBBLE_CHECK(x != nullptr, input, ": has no tensor 'input'");
  nibble::TensorFile result;
  for (const nibble::Tensor& y : graph.forward_all(*x, {nibble::Mode::eval}))
    result.tensors.emplace_back("output" + std::to_string(result.tensors.size()), y);
  nibble::write_safetensors(output, result);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) {
    std::fprintf(stderr, "usage: nibble_forward CHECKPOINT INPUT.safetensors OUTPUT.safetensors\n");
    return 2;
  }
  try {
    forward(arguments[1], arguments[2], arguments[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "nibble_forward: %s\n", error.what());
    return 1;
  }
  return 0;
}
