#include "core/tensor.h"

#include <algorithm>
#include <cstring>

#include "core/allocator.h"
#include "core/tape.h"

namespace nibble {

struct Tensor::Impl {
  Shape shape;
  DType dtype = DType::f32;
  std::shared_ptr<std::byte> storage;
  bool requires_grad = false;
  Tensor grad;
  std::shared_ptr<TapeNode> node;
  std::optional<ValueRange> range;
};

Tensor Tensor::empty(const Shape& shape, DType type) {
  auto impl = std::make_shared<Impl>();
  impl->shape = shape;
  impl->dtype = type;
  impl->storage = allocate(static_cast<size_t>(shape.numel()) * size_of(type));
  return Tensor(std::move(impl));
}

Tensor Tensor::over(const Shape& shape, DType type, std::shared_ptr<std::byte> storage) {
  auto impl = std::make_shared<Impl>();
  impl->shape = shape;
  impl->dtype = type;
  impl->storage = std::move(storage);
  return Tensor(std::move(impl));
}

Tensor Tensor::zeros(const Shape& shape, DType type) {
  Tensor t = empty(shape, type);
  std::memset(t.raw(), 0, t.bytes());
  return t;
}

Tensor Tensor::full(const Shape& shape, float value) {
  Tensor t = empty(shape);
  std::ranges::fill(t.mutable_data<float>(), value);
  return t;
}

Tensor Tensor::scalar(float value) { return full(Shape{1}, value); }

Tensor Tensor::of(std::initializer_list<float> values) {
  return from(Shape{static_cast<int64_t>(values.size())}, std::span<const float>(values.begin(), values.size()));
}

template <class T>
Tensor Tensor::from(const Shape& shape, std::span<const T> values) {
  NIBBLE_CHECK(static_cast<int64_t>(values.size()) == shape.numel(), "tensor: shape ", shape, " needs ", shape.numel(),
               " values, got ", values.size());
  Tensor t = empty(shape, kDTypeOf<T>);
  std::ranges::copy(values, t.mutable_data<T>().begin());
  return t;
}

template Tensor Tensor::from(const Shape&, std::span<const float>);
template Tensor Tensor::from(const Shape&, std::span<const int32_t>);
template Tensor Tensor::from(const Shape&, std::span<const int64_t>);
template Tensor Tensor::from(const Shape&, std::span<const uint8_t>);
template Tensor Tensor::from(const Shape&, std::span<const int8_t>);
template Tensor Tensor::from(const Shape&, std::span<const uint32_t>);
template Tensor Tensor::from(const Shape&, std::span<const uint64_t>);

const Tensor::Impl& Tensor::impl() const {
  NIBBLE_CHECK(impl_ != nullptr, "tensor: use of an undefined tensor");
  return *impl_;
}

const Shape& Tensor::shape() const { return impl().shape; }

DType Tensor::dtype() const { return impl().dtype; }

int64_t Tensor::dim(int axis) const {
  const int index = axis < 0 ? axis + rank() : axis;
  NIBBLE_CHECK(index >= 0 && index < rank(), "tensor: no axis ", axis, " in shape ", shape());
  return shape()[index];
}

std::byte* Tensor::raw() const { return impl().storage.get(); }

std::byte* Tensor::checked_data(DType type) const {
  NIBBLE_CHECK(impl().dtype == type, "tensor: expected ", name_of(type), " elements, has ", name_of(impl().dtype),
               " (shape ", impl().shape, ")");
  return impl().storage.get();
}

const std::optional<ValueRange>& Tensor::known_range() const { return impl().range; }

void Tensor::note_range(const ValueRange& range) const {
  checked_data(DType::f32);
  impl_->range = range;
}

void Tensor::forget_range() const {
  // Looked at first: writers that share a tensor between threads do not all write here.
  if (impl().range) impl_->range.reset();
}

float Tensor::item() const {
  NIBBLE_CHECK(numel() == 1, "tensor: item() needs one element, shape is ", shape());
  return data<float>()[0];
}

Tensor Tensor::clone() const {
  Tensor t = empty(shape(), dtype());
  std::memcpy(t.raw(), raw(), bytes());
  return t;
}

Tensor Tensor::detach() const { return view(shape()); }

Tensor Tensor::view(const Shape& shape) const {
  NIBBLE_CHECK(shape.numel() == numel(), "tensor: cannot view shape ", impl().shape, " as ", shape);
  auto view = std::make_shared<Impl>();
  view->shape = shape;
  view->dtype = dtype();
  view->storage = impl().storage;
  return Tensor(std::move(view));
}

void Tensor::copy_from(const Tensor& other) const {
  NIBBLE_CHECK(other.shape() == shape() && other.dtype() == dtype(), "tensor: cannot copy ", name_of(other.dtype()),
               other.shape(), " into ", name_of(dtype()), shape());
  if (raw() != other.raw()) std::memcpy(raw(), other.raw(), bytes());
}

bool Tensor::requires_grad() const { return impl_ != nullptr && impl_->requires_grad; }

Tensor& Tensor::set_requires_grad(bool value) {
  NIBBLE_CHECK(!value || dtype() == DType::f32, "tensor: only f32 tensors have gradients, this is ", name_of(dtype()));
  impl_->requires_grad = value;
  return *this;
}

const Tensor& Tensor::grad() const { return impl().grad; }

void Tensor::set_grad(Tensor grad) const {
  NIBBLE_CHECK(!grad.defined() || grad.shape() == shape(), "tensor: gradient has shape ",
               grad.defined() ? grad.shape() : Shape{}, ", tensor has ", shape());
  impl();
  impl_->grad = std::move(grad);
}

const std::shared_ptr<TapeNode>& Tensor::node() const { return impl().node; }

void Tensor::set_node(std::shared_ptr<TapeNode> node) const {
  impl();
  impl_->node = std::move(node);
}

bool Tensor::unique() const { return impl_.use_count() == 1 && impl_->storage.use_count() == 1; }

}  // namespace nibble
