#include "tests/quant/conformance.h"

#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

using Entry = Registry<Layer>::Entry;

bool has_option(const Entry& entry, const std::string& key) {
  return std::ranges::any_of(entry.fields, [&](const FieldDoc& field) { return field.key == key; });
}

/// The options that a policy fills in for a tensor of this shape.
Json placed(const std::string& type, const Entry& entry, Json options, bool weight, const Shape& shape) {
  const int64_t channels = shape[0], window = shape.rank() == 4 ? shape[2] * shape[3] : 1;
  const std::pair<const char*, Json> known[] = {{"role", weight ? "weight" : "act"}, {"signed", weight}};
  const std::pair<const char*, Json> of_weights[] = {
      {"channels", channels}, {"fan_in", shape.numel() / channels}, {"fan_out", window * channels}};
  for (const auto& [key, value] : known)
    if (has_option(entry, key) && !options.contains(key)) options[key] = value;
  for (const auto& [key, value] : of_weights)
    if (weight && has_option(entry, key)) options[key] = value;
  options["type"] = type;
  return options;
}

/// Null if the options cannot be or it is no quantizer.
std::shared_ptr<Quantizer> try_make(const Json& options) {
  try {
    return std::dynamic_pointer_cast<Quantizer>(make_layer(options));
  } catch (const UsageError&) {
    return nullptr;
  }
}

/// The default options, every width from 1 to 8, and every other value of a choice or a switch, one at a time.
std::vector<Json> variants(const Entry& entry) {
  std::vector<Json> list{Json::object()};
  for (const FieldDoc& field : entry.fields) {
    if (field.key == "role") continue;
    if (field.key == "bits")
      for (int bits = 1; bits <= 8; ++bits) list.push_back({{"bits", bits}});
    if (field.type == "boolean" && field.key != "signed")
      for (const bool value : {false, true}) list.push_back({{field.key, value}});
    if (field.type == "string" && !field.accepts.empty())
      for (const Json& value : Json::parse("[" + field.accepts + "]")) list.push_back({{field.key, value}});
  }
  return list;
}

struct Named {
  std::string name;
  Subject subject;
};

/// Every registered quantizer in every place that takes it. Types called "test_..." belong to other tests.
std::vector<Named> registered() {
  std::vector<Named> found;
  for (const auto& [name, entry] : Registry<Layer>::get().entries()) {
    const std::string& type = name;
    if (type.starts_with("test_")) continue;
    size_t places = 0;
    for (const bool weight : {true, false}) {
      for (const Json& options : variants(entry)) {
        Subject subject;
        subject.weight = weight;
        subject.make = [type = type, entry = entry, options, weight](const Shape& shape) {
          return try_make(placed(type, entry, options, weight, shape));
        };
        const auto q = subject.make(subject.shape());
        if (q == nullptr) continue;
        ++places;
        if (q->config().contains("bits")) subject.bits = q->config()["bits"].get<int>();
        subject.may_be_real = !options.empty() && !options.contains("bits");
        found.push_back({concat_text(type, weight ? " weight " : " act ", options.dump()), subject});
      }
    }
    if (has_option(entry, "role")) {
      CAPTURE(type);
      CHECK(places > 0);
    }
  }
  return found;
}

/// What a quantizer can get wrong.
enum class Fault {
  none,
  off_grid,
  too_many_levels,
  one_level,
  not_monotone,
  lying_facts,
  forgets_state,
  grows_state,
  loses_options,
  learns_in_eval,
  counts_threads,
  sums_by_thread,
  no_gradient,
  nonlinear,
  divides_by_zero,
  overflows,
  takes_nan,
  takes_infinity,
  unguarded,
};

/// max|x| of the first tensor over four levels on each side; right but for one fault.
class Sample final : public Quantizer {
 public:
  struct Options {
    int bits = 3;
    Fault fault = Fault::none;
    void fields(Fields& f) {
      int number = static_cast<int>(fault);
      f("bits", bits, "code width", {3, 3});
      f("fault", number, "what is wrong");
      fault = static_cast<Fault>(number);
    }
  };
  explicit Sample(const Options& options) : options_(options) {
    step_ = Tensor::full({1}, 1).set_requires_grad();
    seen_ = Tensor::zeros({1}, DType::i64);
  }
  std::string_view type() const override { return "test_sample"; }
  Grid grid(const Tensor& = {}) const override {
    const int extra = is(Fault::too_many_levels) ? 3 : is(Fault::loses_options) ? -2 : 0;
    return Uniform{{step_.item()}, {0}, -4, 3 + extra};
  }
  Tensor forward(Inputs in, const Pass& pass) override {
    const Tensor& x = in[0];
    check_values(x);
    if ((pass.mode == Mode::train || is(Fault::learns_in_eval)) && seen_.data<int64_t>()[0] == 0) learn(x);
    const Tensor y = snap(is(Fault::takes_nan) ? without_nan(x) : x, grid());
    spoil(x, y);
    return record(type(), y, {x, step_}, [this, x](const Tensor& dy) -> Grads {
      Tensor dx = dy.clone();
      double sum = 0;
      for (size_t i = 0; i < x.data<float>().size(); ++i) {
        float& g = dx.mutable_data<float>()[i];
        sum += g * (x.data<float>()[i] > 0 ? 1.0f : -1.0f);
        if (is(Fault::nonlinear)) g *= std::abs(g);
      }
      return {is(Fault::no_gradient) ? Tensor() : dx, Tensor::full({1}, static_cast<float>(sum))};
    });
  }
  void visit(StateVisitor& visitor) override {
    visitor.param("step", step_);
    if (!is(Fault::forgets_state)) visitor.buffer("seen", seen_);
    if (is(Fault::grows_state) && extra_.defined()) visitor.buffer("extra", extra_);
  }
  void after_update() override {
    float& step = step_.mutable_data<float>()[0];
    if (!is(Fault::unguarded)) step = step >= 1e-8f ? std::min(step, 1e30f) : 1e-8f;
  }
  Json config() const override {
    Json json = write_options(options_);
    if (is(Fault::loses_options)) json["fault"] = 0;
    return json;
  }

 private:
  bool is(Fault fault) const { return options_.fault == fault; }
  void check_values(const Tensor& x) const {
    for (const float value : x.data<float>()) {
      NIBBLE_CHECK(!std::isnan(value) || is(Fault::takes_nan), "nan");
      NIBBLE_CHECK(!std::isinf(value) || is(Fault::takes_infinity), "infinity");
    }
  }
  static Tensor without_nan(const Tensor& x) {
    Tensor copy = x.clone();
    for (float& value : copy.mutable_data<float>()) value = std::isnan(value) ? 0 : value;
    return copy;
  }
  void learn(const Tensor& x) {
    float most = 0;
    for (const float value : x.data<float>()) most = std::max(most, std::abs(value));
    const float step = most / (is(Fault::overflows) && most > 1e30f ? 1e-30f : 4);
    step_.mutable_data<float>()[0] = is(Fault::divides_by_zero) ? step : std::clamp(step, 1e-8f, 1e38f);
    seen_.mutable_data<int64_t>()[0] = 1;
    extra_ = Tensor::zeros({1});
  }
  void spoil(const Tensor& x, const Tensor& y) const {
    const auto values = y.mutable_data<float>();
    for (size_t i = 0; i < values.size(); ++i) {
      float& value = values[i];
      if (is(Fault::off_grid)) value *= 1.0001f;
      if (is(Fault::one_level)) value = 0;
      if (is(Fault::not_monotone)) value = value > 1.5f * step_.item() ? 0 : value;
      if (is(Fault::lying_facts))
        value = x.data<float>()[i] > 0.4f * step_.item() ? std::max(value, step_.item()) : value;
      if (is(Fault::counts_threads)) value += step_.item() * static_cast<float>(threads() - 1);
    }
    if (is(Fault::sums_by_thread)) step_.mutable_data<float>()[0] *= 1 + 1e-6f * static_cast<float>(threads());
  }

  Options options_;
  Tensor step_, seen_, extra_;
};
NIBBLE_REGISTER_LAYER(Sample, "test_sample", "A right quantizer, or one with a fault.");

Subject sample(Fault fault) {
  Subject subject;
  subject.bits = 3;
  subject.make = [fault](const Shape&) { return std::make_shared<Sample>(Sample::Options{.fault = fault}); };
  return subject;
}

}  // namespace

TEST_CASE("conformance: every registered quantizer passes every check") {
  const std::vector<Named> quantizers = registered();
  CHECK(quantizers.size() > 0);
  for (const Named& named : quantizers) {
    CAPTURE(named.name);
    for (const Check& check : kChecks) {
      CAPTURE(std::string(check.name));
      CHECK(verdict(check, named.subject) == "");
    }
  }
}

TEST_CASE("conformance: a right quantizer passes, and each fault is found by the check that looks for it") {
  for (const Check& check : kChecks) {
    CAPTURE(std::string(check.name));
    CHECK(verdict(check, sample(Fault::none)) == "");
  }
  const std::pair<Fault, const char*> faults[] = {{Fault::off_grid, "on grid"},
                                                  {Fault::too_many_levels, "level count"},
                                                  {Fault::one_level, "level count"},
                                                  {Fault::not_monotone, "monotone"},
                                                  {Fault::lying_facts, "snaps"},
                                                  {Fault::forgets_state, "state"},
                                                  {Fault::grows_state, "state"},
                                                  {Fault::loses_options, "state"},
                                                  {Fault::learns_in_eval, "pure evaluation"},
                                                  {Fault::counts_threads, "threads"},
                                                  {Fault::sums_by_thread, "threads"},
                                                  {Fault::no_gradient, "gradient"},
                                                  {Fault::nonlinear, "gradient"},
                                                  {Fault::divides_by_zero, "degenerate"},
                                                  {Fault::overflows, "degenerate"},
                                                  {Fault::takes_nan, "refuses"},
                                                  {Fault::takes_infinity, "refuses"},
                                                  {Fault::unguarded, "guarded"}};
  for (const auto& pair : faults) {
    const Fault fault = pair.first;
    const std::string name = pair.second;
    CAPTURE(name);
    CAPTURE(static_cast<int>(fault));
    const Check* check = std::ranges::find_if(kChecks, [&](const Check& c) { return c.name == name; });
    CHECK(verdict(*check, sample(fault)) != "");
  }
}
