#pragma once

#include <memory>
#include <string>

#include "apps/run_parts.h"

namespace nibble {

/// A trained network whose opinion on every batch a student learns beside the labels (Hinton et al. 2015; LSQ, sec.
/// 3.7). It is only ever evaluated: its state does not change, nothing of it is recorded, and it gets no gradient.
class Teacher {
 public:
  /// Takes over a graph whose outputs for one image are `classes` logits.
  Teacher(Graph graph, const TeacherOptions& options) : graph_(std::move(graph)), options_(options) {}

  /// Logits (N,K) of the images (N,H,W,3). Throws Error naming the checkpoint if one is not finite.
  Tensor logits(const Tensor& images) const;
  /// The loss to minimise, where `labels` is the cross entropy with the labels (one element) and soft = T^2 times
  /// distillation_loss(student, teacher, T), T the temperature. T^2 keeps the size of soft's gradient, so that the
  /// weight means the same at every temperature (Hinton et al. 2015, sec. 2).
  ///   "average": (1 - weight) * labels + weight * soft
  ///   "sum":     labels + weight * soft
  Tensor combine(const Tensor& labels, const Tensor& student, const Tensor& teacher) const;
  /// A number that differs, in all likelihood, between any two networks: of the layers, their options and their state.
  int64_t fingerprint() const;

 private:
  Graph graph_;
  TeacherOptions options_;
};

/// The teacher that the config's loss names, or null. A run's folder stands for its last checkpoint, and moving
/// averages take the place of the parameters. Throws UsageError at the checkpoint's place in the config if the file is
/// missing, or if the network takes images of another shape or normalisation than the student's, or tells other
/// classes apart; Error naming the file if it is damaged.
std::shared_ptr<const Teacher> load_teacher(const RunConfig& config, const RunParts& parts);

}  // namespace nibble
