#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// Where the time goes: code that does work says so with a Span, and whoever wants to know keeps a Recorder. Without
/// one on its thread a Span costs a branch. Recording changes no result.
namespace nibble::profile {

/// The part of a training step that a span belongs to.
enum class Stage {
  data,
  forward,
  backward,
  backward_data,     ///< gradient of the input of a convolution or matrix product
  backward_weights,  ///< gradient of its weight
  quantizer,
  quantizer_backward,
  loss,
  optimizer,
  other
};
/// "backward-data"
std::string_view name_of(Stage stage);
/// The stage in which the gradient of what `stage` computes is formed.
Stage backward_of(Stage stage);

/// What a span did. Everything may stay empty.
struct Work {
  double flop = 0;   ///< floating-point operations of the definition, whatever the kernel saves; a multiply-add is 2
  double bytes = 0;  ///< of the tensors that go in and come out, each once; 0 where spans inside say theirs
  std::string kernel = {};  ///< the variant that ran
  std::string shapes = {};  ///< of the tensors, for a human
};

/// A finished span. Spans of one recorder are nested or disjoint.
struct Event {
  std::string layer;  ///< node of the graph; a network inside another's span is "outer/inner"; "" for none
  std::string op;     ///< "conv2d"
  Stage stage = Stage::other;
  int64_t begin = 0, end = 0;  ///< nanoseconds since the recorder was made or cleared
  int64_t own = 0;             ///< end - begin without the spans inside
  int depth = 0;               ///< spans that this one lies in
  Work work;
};

/// Where this thread is: the innermost open span. Empty if there is none.
struct Place {
  std::string layer;
  Stage stage = Stage::forward;
};
Place place();

/// Records the spans of the thread that made it for as long as it lives. One per thread at a time: a second one throws.
class Recorder {
 public:
  Recorder();
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  /// In the order in which they ended. Spans that are still open are missing.
  const std::vector<Event>& events() const { return events_; }
  /// Forgets all events and sets the clock to 0. Throws if a span is open.
  void clear();

 private:
  friend class Span;
  friend Place place();
  struct Open {
    Event event;
    int64_t inside = 0;    ///< time of the spans directly in this one
    bool counted = false;  ///< one of them said its bytes
  };
  int64_t now() const;

  std::vector<Event> events_;
  std::vector<Open> open_;
  int64_t start_ = 0;
};

/// True if this thread records: work that only a report needs can be left out otherwise.
bool on();

/// Some work, from its construction to its destruction.
class Span {
 public:
  /// A span without a layer is in that of the span around it.
  Span(Stage stage, std::string_view op, std::string_view layer = {});
  ~Span();
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;

  /// True if it is recorded.
  explicit operator bool() const { return recorder_ != nullptr; }
  /// Says what it did, in place of what was said before. Does nothing if it is not recorded.
  void note(Work work);

 private:
  Recorder* recorder_;
  size_t index_ = 0;
};

}  // namespace nibble::profile
