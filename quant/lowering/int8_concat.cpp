#include "quant/lowering/int8_concat.h"

#include <algorithm>

#include "quant/kernels/int8_elementwise/int8_elementwise.h"

namespace nibble {

void Int8Concat::Options::fields(Fields& f) {
  out.fields(f);
  f.required()("own", own, "for each input 1 if it is coded differently from the output, else 0", {0, 1});
}

Int8Concat::Int8Concat(const Options& options) : options_(options) {
  options.out.check();
  NIBBLE_CHECK(!options.own.empty(), "int8_concat: expected one or more inputs, \"own\" is empty");
  const auto tables = std::ranges::count(options.own, 1);
  if (tables > 0) tables_ = new_buffer({tables, 256}, DType::u8, "int8_concat");
}

void Int8Concat::visit(StateVisitor& visitor) {
  if (tables_.defined()) visitor.buffer("tables", tables_);
}

void Int8Concat::set_tables(std::span<const uint8_t> tables) {
  if (!tables_.defined()) return;
  tables_.copy_from(Tensor::from<uint8_t>(tables_.shape(), tables));
  after_load();
}

void Int8Concat::after_load() {
  if (!tables_.defined()) return;
  for (const uint8_t code : tables_.data<uint8_t>())
    NIBBLE_CHECK(code <= options_.out.highest(), "a table holds the code ", int{code}, ", expected 0..",
                 options_.out.highest());
}

std::optional<Coding> Int8Concat::coding(std::span<const std::optional<Coding>> inputs) const {
  NIBBLE_CHECK(inputs.size() == options_.own.size(), "int8_concat: expected ", options_.own.size(), " inputs, got ",
               inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    NIBBLE_CHECK(inputs[i].has_value(), "int8_concat: input ", i, " holds values (f32), expected codes");
    NIBBLE_CHECK(options_.own[i] == 1 || *inputs[i] == options_.out, "int8_concat: input ", i,
                 " is coded differently from the output but has no table");
  }
  return options_.out;
}

Tensor Int8Concat::compute(Inputs in) {
  check_lowered_inputs(*this, in, options_.own.size(), DType::u8);
  std::vector<int8::CodeTable> tables;
  tables.reserve(in.size());
  std::vector<int8::ConcatInput> parts;
  int64_t channels = 0;
  const Shape& first = in[0].shape();
  NIBBLE_CHECK(first.rank() >= 1, "int8_concat: expected channels, got a scalar");
  for (size_t i = 0; i < in.size(); ++i) {
    const Shape& shape = in[i].shape();
    NIBBLE_CHECK(shape.rank() == first.rank() && std::equal(shape.begin(), shape.end() - 1, first.begin()),
                 "int8_concat: shapes differ before the last axis: ", first, " and ", shape);
    const int8::CodeTable* table = nullptr;
    if (options_.own[i] == 1) {
      const auto all = tables_.data<uint8_t>();
      tables.emplace_back();
      std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(256 * (tables.size() - 1)), 256, tables.back().begin());
      table = &tables.back();
    }
    parts.push_back({in[i].data<uint8_t>().data(), in[i].dim(-1), table});
    channels += in[i].dim(-1);
  }
  std::vector<int64_t> dims(first.begin(), first.end());
  dims.back() = channels;
  Tensor y = new_output(*this, Shape(std::span<const int64_t>(dims)));
  if (channels > 0) int8::concat_channels(parts, y.numel() / channels, y.mutable_data<uint8_t>().data());
  return y;
}

NIBBLE_REGISTER_LAYER(Int8Concat, "int8_concat", "Lowered: joins the channels of tensors of codes.");

}  // namespace nibble
