#include "core/error.h"
#include "core/kernels/conv_f32/dispatch.h"
#include "core/kernels/conv_f32/driver.h"

namespace nibble::conv_f32 {

profile::Work work_of(const Kernels& kernels, const ConvShape& s, ConvPass pass) {
  const Shape x{s.n, s.h, s.w, s.c}, w{s.o, s.group_in(), s.kh, s.kw}, y{s.n, s.oh, s.ow, s.o};
  const double values =
      static_cast<double>(x.numel()) + static_cast<double>(w.numel()) + static_cast<double>(y.numel());
  return {.flop = 2.0 * static_cast<double>(s.n * s.oh * s.ow) * static_cast<double>(s.weights()),
          .bytes = sizeof(float) * values,
          .kernel = concat_text(name_of(kernels), " ", choose_conv(s, pass)),
          .shapes = concat_text("x ", x, " w ", w, " y ", y)};
}

}  // namespace nibble::conv_f32
