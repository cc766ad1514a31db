#include <cstdio>
#include <ostream>

#include "apps/commands/commands.h"
#include "apps/machine.h"
#include "apps/measured_training.h"
#include "apps/median.h"
#include "apps/progress.h"
#include "apps/step_profile.h"
#include "core/file.h"
#include "core/parallel.h"

namespace nibble {
namespace {

/// Batches of the config's training images, epoch after epoch, or of noise.
class BatchSource {
 public:
  BatchSource(const RunConfig& config, const MeasuredTraining& training, int64_t batch, bool noise,
              Progress& progress) {
    const DataSource& source = *training.parts().source;
    if (noise) {
      noise_ = training.noise(batch, 2);
      return;
    }
    Loader::Options options;
    options.batch = static_cast<int>(batch);
    options.workers = source.options().workers;
    options.prefetch = source.options().prefetch;
    options.train = true;
    options.seed = config.seed;
    options.notice = [&progress](const std::string& text) { progress.line(text); };
    loader_ = std::make_unique<Loader>(source, source.open(Split::train), options);
  }

  Batch next() {
    const profile::Span span(profile::Stage::data, "next_batch");
    if (!loader_) return noise_[static_cast<size_t>(count_++) % noise_.size()];
    Batch batch;
    if (count_ % loader_->batches_per_epoch() == 0) loader_->start(count_ / loader_->batches_per_epoch());
    NIBBLE_CHECK(loader_->next(batch), "profile: the data ended at batch ", count_);
    ++count_;
    return batch;
  }

 private:
  std::vector<Batch> noise_;
  std::unique_ptr<Loader> loader_;
  int64_t count_ = 0;
};

void print(const Json& json, std::ostream& out) {
  char text[200];
  std::snprintf(text, sizeof text,
                "%s, batch %lld, %d threads: %.1f ms per step (median of %lld; the medians below add up to %.1f ms)\n",
                json["model"].get<std::string>().c_str(), json["batch"].get<long long>(), json["threads"].get<int>(),
                1e3 * json["seconds_per_step"].get<double>(), json["steps"].get<long long>(),
                1e3 * json["rows_seconds"].get<double>());
  out << machine_line(json["machine"]) << "\n" << text << "\n";
  print_profile(json, out);
}

int run_profile(const Arguments& args, Console& console) {
  apply_isa(args, "profile");
  apply_threads(args);
  const RunConfig config = load_run_config(args.positional()[0], args.all("--set"));
  MeasuredTraining training(config, args.has("--threads"));
  const int64_t batch = args.integer("--batch", training.parts().source->options().batch, 1, 1 << 20);
  const int64_t count = args.integer("--steps", 10, 1, 100000);
  Progress progress(console);
  BatchSource source(config, training, batch, args.has("--noise"), progress);
  StepProfile steps;
  const auto next = [&source] { return source.next(); };
  const StepTimes times = time_steps(training, next, count, kWarmUpSteps, "profile", progress, &steps);
  Json json = {{"model", config.model.type()},
               {"batch", batch},
               {"threads", threads()},
               {"steps", count},
               {"seconds_per_step", median(times.seconds)},
               {"system_allocations", times.system_allocations}};
  json.update(steps.json());
  json["machine"] = machine_info();
  if (args.has("--trace")) write_file_atomically(args.text("--trace"), steps.trace().dump(1) + "\n");
  if (args.has("--json"))
    console.out << json_text(json);
  else
    print(json, console.out);
  return 0;
}

}  // namespace

Command profile_command() {
  CommandSpec spec;
  spec.name = "profile";
  spec.arguments = "CONFIG";
  spec.min_arguments = spec.max_arguments = 1;
  spec.doc =
      "where the time of a config's training steps goes, layer by layer and pass by pass.\n"
      "Trains for some steps on the config's images, after three that are not counted, with a learning rate of almost "
      "0\n"
      "and writes nothing but the trace. Time is a layer's own, without what is listed apart (quantizers, gradients "
      "of\n"
      "inputs and of weights); bytes are those of the tensors that go in and come out, each once, for a gradient with "
      "the\n"
      "inputs of the op; FLOP counts a multiply-add as 2, taps in the padding included. \"nibble bench train CONFIG\n"
      "--explain\" has the kernels and their share of the peak.";
  spec.options = {
      {"--batch", "N", "images per step; by default the config's", "", false},
      {"--steps", "N", "steps to record (10)", "", false},
      {"--noise", "", "noise in the place of the config's images, which need not be there", "", false},
      {"--trace", "FILE", "also write every span there, for chrome://tracing or ui.perfetto.dev", "", false},
      option::threads(),
      option::isa(),
      option::set(),
      option::json()};
  return {spec, run_profile};
}

}  // namespace nibble
