#include "quant/lowering/int8_table.h"

#include <algorithm>

#include "quant/kernels/int8_elementwise/int8_elementwise.h"

namespace nibble {

Int8Table::Int8Table(const Options& options) : options_(options), table_(new_buffer({256}, DType::u8, "int8_table")) {
  options.coding.check();
}

void Int8Table::set_table(std::span<const uint8_t> table) {
  table_.copy_from(Tensor::from<uint8_t>({256}, table));
  after_load();
}

void Int8Table::after_load() {
  for (const uint8_t code : table_.data<uint8_t>())
    NIBBLE_CHECK(code <= options_.coding.highest(), "the table holds the code ", int{code}, ", expected 0..",
                 options_.coding.highest());
}

std::optional<Coding> Int8Table::coding(std::span<const std::optional<Coding>> inputs) const {
  only_coding(*this, inputs);
  return options_.coding;
}

Tensor Int8Table::compute(Inputs in) {
  check_lowered_inputs(*this, in, 1, DType::u8);
  int8::CodeTable table;
  std::ranges::copy(table_.data<uint8_t>(), table.begin());
  Tensor y = Tensor::empty_like(in[0]);
  int8::apply_table(table, in[0].data<uint8_t>().data(), y.mutable_data<uint8_t>().data(), y.numel());
  return y;
}

NIBBLE_REGISTER_LAYER(Int8Table, "int8_table", "Lowered: a function of single codes, as its table.");

}  // namespace nibble
