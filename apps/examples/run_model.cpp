// Classifies a batch with a network on integers that `nibble lower` wrote: run_model MODEL
#include <algorithm>
#include <exception>
#include <iostream>

#include "quant/lowering/lowered_model.h"

int main(int argc, char** argv) try {
  if (argc != 2) throw nibble::Error("usage: run_model MODEL");
  const nibble::Graph model = nibble::load_lowered(argv[1]);
  const nibble::Shape& image = model.input_shape();  // (height, width, channels)
  // Stands for 8 pictures, normalised as in training.
  const nibble::Tensor batch = nibble::Tensor::zeros({8, image[0], image[1], image[2]});
  const nibble::Tensor logits = model.forward(batch, {nibble::Mode::eval});  // (8, classes)
  for (int64_t i = 0; i < logits.dim(0); ++i) {
    const auto row = logits.data<float>().subspan(static_cast<size_t>(i * logits.dim(1)), logits.dim(1));
    std::cout << "class " << std::ranges::max_element(row) - row.begin() << "\n";
  }
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
