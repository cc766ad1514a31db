#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"
#include "core/shape.h"

namespace nibble {

class TapeNode;

/// Smallest and largest of some values and 0.
struct ValueRange {
  float lowest = 0, highest = 0;
};

/// A contiguous, row-major, 64-byte aligned array of one DType. A Tensor is a handle: copies share storage, gradient
/// and tape node; `clone()` copies the data. Activations are (N, H, W, C), convolution weights (O, I/groups, KH, KW).
class Tensor {
 public:
  /// Undefined: no storage. Everything but defined() throws on it.
  Tensor() = default;
  /// Contents undefined.
  static Tensor empty(const Shape& shape, DType type = DType::f32);
  static Tensor zeros(const Shape& shape, DType type = DType::f32);
  /// Views memory of the caller's that `storage` keeps alive: shape.numel() elements, aligned as one of them must be.
  static Tensor over(const Shape& shape, DType type, std::shared_ptr<std::byte> storage);
  static Tensor full(const Shape& shape, float value);
  static Tensor scalar(float value);
  /// Rank 1.
  static Tensor of(std::initializer_list<float> values);
  /// Copies `values`; throws unless their number is shape.numel().
  template <class T>
  static Tensor from(const Shape& shape, std::span<const T> values);
  static Tensor from(const Shape& shape, const std::vector<float>& values) {
    return from(shape, std::span<const float>(values));
  }
  static Tensor empty_like(const Tensor& other) { return empty(other.shape(), other.dtype()); }
  static Tensor zeros_like(const Tensor& other) { return zeros(other.shape(), other.dtype()); }

  bool defined() const { return impl_ != nullptr; }
  const Shape& shape() const;
  int rank() const { return shape().rank(); }
  /// Extent of an axis; negative axes count from the end. Throws if there is no such axis.
  int64_t dim(int axis) const;
  int64_t numel() const { return shape().numel(); }
  DType dtype() const;
  size_t bytes() const { return static_cast<size_t>(numel()) * size_of(dtype()); }

  /// The elements; throws if T is not the tensor's type.
  template <class T>
  std::span<const T> data() const {
    return {reinterpret_cast<const T*>(checked_data(kDTypeOf<T>)), static_cast<size_t>(numel())};
  }
  /// The elements, to be written. Every writer in the code is found by searching for this name.
  template <class T>
  std::span<T> mutable_data() const {
    forget_range();
    return {reinterpret_cast<T*>(checked_data(kDTypeOf<T>)), static_cast<size_t>(numel())};
  }
  /// The range of the elements, which are all finite, if their writer found it on the way; nothing after
  /// mutable_data() or of another tensor on the same storage.
  const std::optional<ValueRange>& known_range() const;
  /// To be called by the writer when it is done.
  void note_range(const ValueRange& range) const;
  /// Untyped storage, bytes() long.
  std::byte* raw() const;
  /// The value of a one-element f32 tensor.
  float item() const;

  /// Own storage, same data, off the tape.
  Tensor clone() const;
  /// Shares storage, off the tape, requires no gradient.
  Tensor detach() const;
  /// Shares storage under another shape of equal numel, off the tape (ops.h has the recording `reshape`).
  Tensor view(const Shape& shape) const;
  /// Copies another tensor's elements into this one's storage; throws unless shape and type agree.
  void copy_from(const Tensor& other) const;

  bool requires_grad() const;
  Tensor& set_requires_grad(bool value = true);
  /// The accumulated gradient of a leaf; undefined before the first backward.
  const Tensor& grad() const;
  void set_grad(Tensor grad) const;

  const std::shared_ptr<TapeNode>& node() const;
  void set_node(std::shared_ptr<TapeNode> node) const;
  /// True if this handle is the only one on its storage, so that the storage may be overwritten.
  bool unique() const;
  /// Identity of the underlying tensor (not of its storage).
  const void* id() const { return impl_.get(); }

 private:
  struct Impl;
  explicit Tensor(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const;
  std::byte* checked_data(DType type) const;
  void forget_range() const;

  std::shared_ptr<Impl> impl_;
};

}  // namespace nibble
