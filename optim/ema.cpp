#include "optim/ema.h"

#include <algorithm>
#include <set>

#include "core/parallel.h"

namespace nibble {

void Ema::Options::fields(Fields& f) {
  f("decay", decay, "fraction of the average that every step keeps", kFraction);
  f("warmup", warmup, "after t steps keep at most (1 + t) / (10 + t), so that the start is soon forgotten");
  f.choice("buffers", buffers, {"copy", "average"}, "what happens to batch-norm statistics");
}

Ema::Ema(const Options& options, std::vector<Source> sources)
    : options_(options), sources_(std::move(sources)), updates_(Tensor::zeros({1}, DType::i64)) {
  NIBBLE_CHECK(options_.decay >= 0 && options_.decay <= 1, "ema: decay must be in [0, 1], got ", options_.decay);
  NIBBLE_CHECK(options_.buffers == "copy" || options_.buffers == "average",
               "ema: buffers must be 'copy' or 'average', got '", options_.buffers, "'");
  std::set<std::string> names;
  for (const Source& source : sources_) {
    NIBBLE_CHECK(source.tensor.defined(), "ema: tensor '", source.name, "' is undefined");
    NIBBLE_CHECK(names.insert(source.name).second, "ema: two tensors are named '", source.name, "'");
    averages_.push_back(source.tensor.clone());
  }
}

void Ema::update() {
  NIBBLE_CHECK(!swapped_, "ema: update while the network holds the averages");
  const auto t = static_cast<double>(updates_.mutable_data<int64_t>()[0]++);
  const double decay = options_.warmup ? std::min(options_.decay, (1 + t) / (10 + t)) : options_.decay;
  const auto gain = static_cast<float>(1 - decay);
  for (size_t i = 0; i < sources_.size(); ++i) {
    const Source& source = sources_[i];
    if (source.tensor.dtype() != DType::f32 || (source.buffer && options_.buffers == "copy")) {
      averages_[i].copy_from(source.tensor);
      continue;
    }
    float* average = averages_[i].mutable_data<float>().data();
    const float* now = source.tensor.data<float>().data();
    parallel_for(0, source.tensor.numel(), 32768, [&](int64_t lo, int64_t hi) {
      for (int64_t k = lo; k < hi; ++k) average[k] += gain * (now[k] - average[k]);
    });
  }
}

void Ema::swap() {
  for (size_t i = 0; i < sources_.size(); ++i) {
    std::byte* a = averages_[i].raw();
    std::swap_ranges(a, a + averages_[i].bytes(), sources_[i].tensor.raw());
  }
  swapped_ = !swapped_;
}

void Ema::visit_state(const std::function<void(const std::string&, Tensor&)>& visit) {
  for (size_t i = 0; i < sources_.size(); ++i) visit(sources_[i].name, averages_[i]);
  visit("updates", updates_);
}

}  // namespace nibble
