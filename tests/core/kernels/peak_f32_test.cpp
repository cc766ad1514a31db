#include "core/kernels/peak_f32/dispatch.h"
#include "third_party/doctest.h"

using namespace nibble;

TEST_CASE("peak_f32: every variant does the multiply-adds that it counts") {
  for (const auto& v : peak_f32::variants()) {
    CAPTURE(v.name);
    if (!cpu::has(v.needs)) {
      MESSAGE("not run on this CPU: ", v.name);
      continue;
    }
    // Every chain comes to v = 0.5 v + 1 = 2, exactly.
    float io[3] = {0.5f, 1, 0};
    const int64_t rounds = 100, count = v.fn(rounds, io);
    CHECK(count % rounds == 0);
    CHECK(count >= rounds);
    CHECK(io[2] == 2.0f * static_cast<float>(count / rounds));
  }
}
