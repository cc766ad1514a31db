#include "apps/run_config.h"

#include <filesystem>

namespace nibble {

void TeacherOptions::fields(Fields& f) {
  f.required()("checkpoint", checkpoint, "the teacher: a checkpoint, or a run's folder for its last one");
  f("temperature", temperature, "divides the logits of both networks", kPositive);
  f("weight", weight, "of the loss with the teacher's outputs; with \"average\" at most 1", kNonNegative);
  f.choice("combine", combine, {"average", "sum"},
           "\"average\": (1 - weight) * cross entropy with the labels + weight * temperature^2 * cross entropy with "
           "the teacher's softmax; \"sum\": the former is not scaled");
}

void LossOptions::fields(Fields& f) {
  f.choice(
      "function", function, {"cross_entropy", "squared_hinge"},
      "softmax cross entropy, or the mean over all scores of max(0, 1 - t score)^2, t = 1 for the label and -1 for "
      "the other classes (BinaryConnect, BNN); what is reported of test images is always the cross entropy");
  f("label_smoothing", label_smoothing, "share of the target spread evenly over all classes", {0, 1});
  f("auxiliary", auxiliary,
    "weight of the loss of every further output of the network, such as Inception-v3's auxiliary classifier; "
    "0 leaves them out",
    kNonNegative);
  f.raw("teacher", teacher, "teacher or null", "learn from the outputs of a trained network as well (distillation)");
}

void TrainOptions::fields(Fields& f) {
  f("epochs", epochs, "passes over the training images", {1, 1e6});
  f("eval_every", eval_every, "epochs between evaluations on the test images; the last epoch is always evaluated",
    {1, 1e6});
  f("log_every", log_every, "steps between lines in metrics.jsonl; 0 writes epoch lines only", kNonNegative);
  f("checkpoint_every", checkpoint_every, "epochs between checkpoints; the last epoch always writes one", {1, 1e6});
  f("checkpoint_every_steps", checkpoint_every_steps, "steps between further checkpoints inside an epoch; 0 for none",
    kNonNegative);
  f.raw("ema", ema, "moving average or null", "evaluate and keep a moving average of the parameters as well");
  f("init", init, "checkpoint whose parameters and buffers to start from; empty for a random start");
  f("threads", threads, "compute threads, which do not change results; 0 for all cores (--threads goes first)",
    {0, 4096});
  f("fuse", fuse, "run layers that follow one another as one where that is faster, which does not change results");
}

void RunConfig::fields(Fields& f) {
  f("name", name, "name of the run and of its folder under runs/; by default that of the config file");
  f("seed", seed, "seed of all random numbers: initial parameters, order of the images, augmentation, dropout");
  f("notes", notes, "free text for the reader");
  f.required().raw("model", model, "model", "the network");
  f.required().raw("data", data, "data source", "the images and how they are prepared");
  f.raw("quant", quant, "list of rules or null", "which layers are quantized, and how");
  f.required().raw("optim", optim, "optimizer", "the update rule with its learning rate and schedule");
  f.nested("loss", loss, "what training minimises");
  f.nested("train", train, "length of the run, evaluation and checkpoints");
}

RunConfig read_run_config(const Config& config) {
  auto run = read_options<RunConfig>(config, {});
  if (run.name.empty()) run.name = std::filesystem::path(config.file).stem().string();
  if (run.name.empty()) run.name = "run";
  if (run.name == "." || run.name == ".." || run.name.find_first_of(std::string("/\0", 2)) != std::string::npos)
    config.at("name").fail("expected a name that can be a folder's, found '" + run.name + "'");
  return run;
}

RunConfig load_run_config(const std::string& path, const std::vector<std::string>& assignments) {
  Config config = load_config(path);
  for (const std::string& assignment : assignments) set_option(config, assignment);
  return read_run_config(config);
}

}  // namespace nibble
