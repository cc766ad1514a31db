#include "core/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>

#include "core/file.h"
#include "core/input_file.h"
#include "core/json.h"
#include "core/mapped_file.h"
#include "core/safetensors_header.h"

namespace nibble {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

/// As in the format's reference implementation.
constexpr uint64_t kMaxHeader = 100'000'000;
/// Where the data starts, in the files we write, is a multiple of this.
constexpr size_t kDataAlignment = 64;
constexpr size_t kLengthField = 8;
/// Smaller tensors are cheaper to copy than to keep a page for.
constexpr uint64_t kLeastMapped = 4096;

/// Bytes at a position of a file or of memory.
class Source {
 public:
  virtual ~Source() = default;
  virtual uint64_t size() const = 0;
  /// Fills `out`; throws Error if the source is shorter.
  virtual void read(uint64_t position, std::span<std::byte> out) const = 0;
  /// The bytes themselves, if they can be lent and lie as elements of that type must.
  virtual std::shared_ptr<std::byte> view(uint64_t, const SafetensorsType&, uint64_t) const { return nullptr; }
};

class MemorySource final : public Source {
 public:
  explicit MemorySource(std::span<const std::byte> bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  void read(uint64_t position, std::span<std::byte> out) const override {
    const auto part = bytes_.subspan(position, out.size());
    std::copy(part.begin(), part.end(), out.begin());
  }

 private:
  std::span<const std::byte> bytes_;
};

/// Reads tensors straight into their storage, so that a file is never in memory twice.
class FileSource final : public Source {
 public:
  explicit FileSource(const std::string& path) : file_(path) {}
  uint64_t size() const override { return file_.size(); }
  void read(uint64_t position, std::span<std::byte> out) const override { file_.read(position, out); }

 private:
  InputFile file_;
};

/// Lends its memory for what is large.
class MappedSource final : public Source {
 public:
  explicit MappedSource(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {}
  uint64_t size() const override { return file_->file().size(); }
  void read(uint64_t position, std::span<std::byte> out) const override { file_->file().read(position, out); }
  std::shared_ptr<std::byte> view(uint64_t position, const SafetensorsType& type, uint64_t bytes) const override {
    std::byte* const begin = file_->bytes().data() + position;
    const bool aligned = reinterpret_cast<uintptr_t>(begin) % type.size == 0;
    return bytes >= kLeastMapped && aligned ? std::shared_ptr<std::byte>(file_, begin) : nullptr;
  }

 private:
  std::shared_ptr<const MappedFile> file_;
};

/// The tensor's shape; throws Error unless it exists and agrees with the offsets, which lie inside the data.
Shape checked_shape(const SafetensorsEntry& entry, uint64_t data_bytes, const std::string& file) {
  const auto fail = [&](const auto&... parts) {
    throw Error(concat_text("'", file, "': tensor '", entry.name, "' ", parts...));
  };
  std::vector<int64_t> dims;
  for (const uint64_t dim : *entry.shape) {
    if (dim > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) fail("has the impossible extent ", dim);
    dims.push_back(static_cast<int64_t>(dim));
  }
  Shape shape;
  try {
    shape = Shape(std::span<const int64_t>(dims));
  } catch (const Error& error) {
    fail("has an impossible shape: ", error.what());
  }
  const uint64_t begin = (*entry.offsets)[0], end = (*entry.offsets)[1];
  if (begin > end) fail("ends at byte ", end, ", before it begins at byte ", begin);
  if (end > data_bytes) {
    fail("ends at byte ", end, " of the data, which has only ", data_bytes, " bytes (truncated file?)");
  }
  const uint64_t needed = static_cast<uint64_t>(shape.numel()) * entry.type->size;
  if (end - begin != needed) {
    fail("has ", end - begin, " bytes, but ", entry.type->name, " ", shape, " takes ", needed);
  }
  return shape;
}

/// Throws Error unless the tensors cover the data without gap or overlap.
void check_layout(const std::vector<SafetensorsEntry>& entries, uint64_t data_bytes, const std::string& file) {
  std::vector<size_t> order(entries.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return *entries[a].offsets < *entries[b].offsets; });
  uint64_t covered = 0;
  for (const size_t i : order) {
    const SafetensorsEntry& entry = entries[i];
    const uint64_t begin = (*entry.offsets)[0];
    NIBBLE_CHECK(begin >= covered, "'", file, "': tensor '", entry.name, "' begins at byte ", begin,
                 " of the data, inside the tensor that ends at byte ", covered);
    NIBBLE_CHECK(begin == covered, "'", file, "': no tensor covers bytes ", covered, " to ", begin,
                 " of the data, in front of '", entry.name, "'");
    covered = (*entry.offsets)[1];
  }
  NIBBLE_CHECK(covered == data_bytes, "'", file, "': ", data_bytes - covered, " bytes follow the last tensor");
}

float from_half(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16, exponent = (bits >> 10) & 31, fraction = bits & 0x3FF;
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24, exact in f32
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  const uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

/// One element of type T, which need not be aligned.
template <class T>
T load(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

/// Turns elements of a type that nibble does not hold into floats.
void widen(const SafetensorsType& type, std::span<const std::byte> from, std::span<float> to) {
  const std::byte* bytes = from.data();
  for (float& value : to) {
    if (type.name == "F16") {
      value = from_half(load<uint16_t>(bytes));
    } else if (type.name == "BF16") {
      value = std::bit_cast<float>(uint32_t{load<uint16_t>(bytes)} << 16);
    } else {
      value = static_cast<float>(load<double>(bytes));
    }
    bytes += type.size;
  }
}

Tensor read_tensor(const SafetensorsEntry& entry, const Shape& shape, uint64_t data_start, const Source& source) {
  uint64_t position = data_start + (*entry.offsets)[0];
  if (!entry.type->converted) {
    auto lent = source.view(position, *entry.type, (*entry.offsets)[1] - (*entry.offsets)[0]);
    if (lent != nullptr) return Tensor::over(shape, entry.type->type, std::move(lent));
  }
  Tensor tensor = Tensor::empty(shape, entry.type->type);
  if (!entry.type->converted) {
    source.read(position, {tensor.raw(), tensor.bytes()});
    return tensor;
  }
  constexpr size_t kBlock = 8192;
  std::array<std::byte, kBlock * sizeof(double)> buffer;
  for (std::span<float> rest = tensor.mutable_data<float>(); !rest.empty();) {
    const size_t n = std::min(kBlock, rest.size());
    const std::span<std::byte> bytes(buffer.data(), n * entry.type->size);
    source.read(position, bytes);
    widen(*entry.type, bytes, rest.first(n));
    position += bytes.size();
    rest = rest.subspan(n);
  }
  return tensor;
}

TensorFile read_source(const Source& source, const std::string& name) {
  NIBBLE_CHECK(source.size() >= kLengthField, "'", name, "' is no safetensors file: it has only ", source.size(),
               " bytes");
  std::array<std::byte, kLengthField> length_bytes;
  source.read(0, length_bytes);
  const auto length = load<uint64_t>(length_bytes.data());
  NIBBLE_CHECK(length <= source.size() - kLengthField, "'", name, "' is truncated or no safetensors file: its header ",
               "claims ", length, " bytes, and ", source.size() - kLengthField, " follow");
  NIBBLE_CHECK(length <= kMaxHeader, "'", name, "' is no safetensors file: its header claims ", length,
               " bytes, more than the format's ", kMaxHeader);
  std::string header(length, '\0');
  source.read(kLengthField, std::as_writable_bytes(std::span(header.data(), header.size())));
  NIBBLE_CHECK(header.starts_with('{'), "'", name, "' is no safetensors file: its header does not begin with '{'");

  SafetensorsHeader parsed = parse_safetensors_header(header, name);
  const uint64_t data_start = kLengthField + length, data_bytes = source.size() - data_start;
  std::vector<Shape> shapes;
  for (const SafetensorsEntry& entry : parsed.entries) shapes.push_back(checked_shape(entry, data_bytes, name));
  check_layout(parsed.entries, data_bytes, name);

  TensorFile file;
  file.metadata = std::move(parsed.metadata);
  for (size_t i = 0; i < shapes.size(); ++i) {
    Tensor tensor = read_tensor(parsed.entries[i], shapes[i], data_start, source);
    file.tensors.emplace_back(std::move(parsed.entries[i].name), std::move(tensor));
  }
  return file;
}

void check_writable(const TensorFile& file, const std::string& path) {
  std::vector<std::string_view> names;
  for (const auto& named : file.tensors) {
    NIBBLE_CHECK(named.second.defined(), "cannot write '", path, "': tensor '", named.first, "' is undefined");
    NIBBLE_CHECK(named.first != kSafetensorsMetadataKey, "cannot write '", path,
                 "': no tensor can be named '__metadata__'");
    names.push_back(named.first);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  NIBBLE_CHECK(twice == names.end(), "cannot write '", path, "': two tensors are named '", *twice, "'");
}

/// The length field and the header, for data in the given order.
std::string header_of(const TensorFile& file, const std::vector<size_t>& data_order, const std::string& path) {
  std::vector<std::array<uint64_t, 2>> offsets(file.tensors.size());
  uint64_t end = 0;
  for (const size_t i : data_order) {
    const uint64_t begin = end;
    end += file.tensors[i].second.bytes();
    offsets[i] = {begin, end};
  }
  Json header = Json::object();
  if (!file.metadata.empty()) header[kSafetensorsMetadataKey] = file.metadata;
  for (size_t i = 0; i < file.tensors.size(); ++i) {
    const Tensor& tensor = file.tensors[i].second;
    const Shape& shape = tensor.shape();
    // Not header[name] = ...: that searches all the keys before it.
    header.get_ref<Json::object_t&>().emplace_back(file.tensors[i].first,
                                                   Json{{"dtype", std::string(safetensors_type(tensor.dtype()).name)},
                                                        {"shape", std::vector<int64_t>(shape.begin(), shape.end())},
                                                        {"data_offsets", offsets[i]}});
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception& error) {
    throw Error(concat_text("cannot write '", path, "': a name or metadata text is no UTF-8 (", error.what(), ")"));
  }
  const size_t padded = (kLengthField + text.size() + kDataAlignment - 1) / kDataAlignment * kDataAlignment;
  text.resize(padded - kLengthField, ' ');
  NIBBLE_CHECK(text.size() <= kMaxHeader, "cannot write '", path, "': its header takes ", text.size(),
               " bytes, and the format allows ", kMaxHeader);
  const auto length = std::bit_cast<std::array<char, kLengthField>>(static_cast<uint64_t>(text.size()));
  return std::string(length.data(), length.size()) + text;
}

}  // namespace

const Tensor* TensorFile::find(const std::string& name) const {
  for (const auto& named : tensors) {
    if (named.first == name) return &named.second;
  }
  return nullptr;
}

TensorFile read_safetensors(const std::string& path) { return read_source(FileSource(path), path); }

TensorFile map_safetensors(const std::string& path) {
  const auto mapping = std::make_shared<const MappedFile>(path);
  TensorFile file = read_source(MappedSource(mapping), path);
  file.mapping = mapping;
  return file;
}

TensorFile parse_safetensors(std::span<const std::byte> bytes, const std::string& name) {
  return read_source(MemorySource(bytes), name);
}

void write_safetensors(const std::string& path, const TensorFile& file) {
  check_writable(file, path);
  // Wide elements first: the format allows no gaps, and readers that map the file want every tensor aligned.
  std::vector<size_t> order(file.tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto width = [&](size_t i) { return size_of(file.tensors[i].second.dtype()); };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return width(a) > width(b); });

  const std::string header = header_of(file, order, path);
  std::vector<std::span<const std::byte>> parts{std::as_bytes(std::span(header.data(), header.size()))};
  for (const size_t i : order) parts.emplace_back(file.tensors[i].second.raw(), file.tensors[i].second.bytes());
  write_file_atomically(path, parts);
}

}  // namespace nibble
