#include "apps/reference.h"

#include "apps/run_config.h"
#include "core/registry.h"
#include "data/dataset.h"
#include "data/transform.h"
#include "layers/model.h"
#include "optim/ema.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "quant/backward_rule.h"
#include "quant/policy.h"

namespace nibble {
namespace {

/// Text inside a table cell.
std::string cell(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '|' ? "\\|" : c == '\n' ? " " : std::string(1, c);
  return out;
}

std::string code(const std::string& text) { return text.empty() ? "" : concat_text("`", cell(text), "`"); }

void add_table(std::string& page, const std::vector<FieldDoc>& fields) {
  if (fields.empty()) {
    page += "No options.\n\n";
    return;
  }
  page += "| key | type | default | accepts | meaning |\n|---|---|---|---|---|\n";
  for (const FieldDoc& field : fields)
    page += concat_text("| ", code(field.key), " | ", cell(field.type), " | ",
                        field.required ? "required" : code(field.fallback), " | ", cell(field.accepts), " | ",
                        cell(field.doc), " |\n");
  page += "\n";
}

template <class Base>
void add_registry(std::string& page, const std::string& title, const std::string& intro) {
  page += concat_text("## ", title, "\n\n", intro, "\n\n");
  for (const auto& [name, entry] : Registry<Base>::get().entries()) {
    page += concat_text("### ", title, " `", name, "`\n\n", entry.doc, "\n\n");
    add_table(page, entry.fields);
  }
}

constexpr const char* kHead =
    "# Everything a config can say\n\n"
    "Written by `nibble reference` from the code that reads configs; a test compares the two.\n\n"
    "A config is a JSON object (comments are allowed). An object with a `\"type\"` becomes the class registered under "
    "that name, and its other keys are that class's options. Unknown keys, wrong types and values out of range are "
    "errors that name the file and the JSON pointer. `--set /pointer=value` changes single values.\n\n"
    "`\"extends\": \"base.json\"` at the top level starts from another config, whose path is relative to this file. "
    "Objects merge key by key unless their `\"type\"` differs; everything else replaces.\n\n";

}  // namespace

std::string reference_page() {
  std::string page = kHead;
  page += "## Run\n\nThe top level.\n\n";
  std::vector<FieldDoc> fields = list_options<RunConfig>();
  fields.insert(fields.begin(), {"extends", "string", "none", "", "config file to start from", false});
  add_table(page, fields);
  page += "## Moving average\n\nThe object `train.ema`.\n\n";
  add_table(page, list_options<Ema::Options>());
  page += "## Teacher\n\nThe object `loss.teacher`.\n\n";
  add_table(page, list_options<TeacherOptions>());
  add_registry<Graph>(page, "Model", "The section `model`.");
  add_registry<Layer>(page, "Layer", "A node of the model `graph`, beside its `name` and `inputs`.");
  add_registry<DataSource>(page, "Data source", "The section `data`.");
  add_registry<Transform>(page, "Transform",
                          "An entry of `data.augment` or `data.transform`: an object, or the name alone.");
  page +=
      "## Quantization rule\n\nAn entry of the section `quant`; the first that matches a layer's name decides. "
      "\"weight\" and \"act\" name one of the layers above that is a quantizer.\n\n";
  add_table(page, quant_rule_fields());
  add_registry<BackwardRule>(page, "Backward rule",
                             "The option `backward` of a quantizer: an object, or the name alone.");
  add_registry<Optimizer>(page, "Optimizer", "The section `optim`.");
  add_registry<Schedule>(page, "Schedule", "The object `optim.schedule`.");
  while (page.size() > 1 && page[page.size() - 2] == '\n') page.pop_back();
  return page;
}

}  // namespace nibble
