#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace nibble {

class MappedFile;

/// A safetensors file: named tensors in file order and string metadata.
struct TensorFile {
  std::vector<std::pair<std::string, Tensor>> tensors;
  std::map<std::string, std::string> metadata;
  std::shared_ptr<const MappedFile> mapping = nullptr;  ///< what tensors may view (map_safetensors)

  /// nullptr if there is none of that name.
  const Tensor* find(const std::string& name) const;
};

/// Reads F32, I32, I64, U8, I8, U32, U64; F16, BF16 and F64 are converted to f32. Throws Error naming file and tensor
/// if the header is no JSON, lies about sizes or offsets (overlaps, holes, overflows), or the file is truncated. Never
/// allocates more than the file is long.
TensorFile read_safetensors(const std::string& path);
/// The same, but tensors of a page and more are not read: they view the mapped file (see mapped_file.h, also for what
/// happens if it is shortened) and keep it mapped.
TensorFile map_safetensors(const std::string& path);
/// The same from memory; `name` is for messages.
TensorFile parse_safetensors(std::span<const std::byte> bytes, const std::string& name);
/// Writes atomically: a temporary file beside it, flush to disk, rename. Throws Error naming the file; whatever was
/// there before stays as it was.
void write_safetensors(const std::string& path, const TensorFile& file);

}  // namespace nibble
