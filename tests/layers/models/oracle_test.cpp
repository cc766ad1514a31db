#include "layers/describe.h"
#include "tests/layers/support.h"

using namespace nibble;
using namespace nibble::test;

namespace {

/// The columns of the specification's table of networks. Shortcuts and depthwise convolutions are layers, too.
struct Totals {
  int layers = 0;                                                      ///< with weights
  int64_t weights = 0, bias = 0, batch_norm = 0, total = 0, macs = 0;  ///< weights without biases; total of all three
  int64_t first = 0, first_macs = 0, last = 0;                         ///< of the first and the last layer
};

struct Row {
  const char* model = "";
  Totals totals{};
};

Totals totals_of(const Json& json) {
  const Graph graph = build_model(Config(json));
  Totals totals;
  for (const NodeInfo& info : describe(graph)) {
    totals.total += info.parameters;
    totals.macs += info.macs;
    totals.weights += info.weights;
    (info.weights > 0 ? totals.bias : totals.batch_norm) += info.parameters - info.weights;
    if (info.weights == 0) continue;
    if (++totals.layers == 1) totals.first = info.weights;
    if (totals.layers == 1) totals.first_macs = info.macs;
    totals.last = info.weights;
  }
  int64_t scalars = 0;
  for (const NamedTensor& entry : parameters_of(graph)) scalars += entry.tensor.numel();
  CHECK(scalars == totals.total);
  return totals;
}

void check(const Row& row) {
  CAPTURE(row.model);
  const Totals& expected = row.totals;
  const Totals found = totals_of(parse_config(row.model, "row").json);
  CHECK(found.layers == expected.layers);
  CHECK(found.weights == expected.weights);
  CHECK(found.bias == expected.bias);
  CHECK(found.batch_norm == expected.batch_norm);
  CHECK(found.total == expected.total);
  CHECK(found.macs == expected.macs);
  CHECK(found.first == expected.first);
  CHECK(found.first_macs == expected.first_macs);
  CHECK(found.last == expected.last);
}

}  // namespace

TEST_CASE("models: layers, parameters and multiply-accumulates of every network are the published ones, to the last") {
  const std::vector<Row> rows{
      {R"({"type": "resnet20", "shortcut": "A"})", {20, 268'336, 10, 1'376, 269'722, 40'551'040, 432, 442'368, 640}},
      {R"({"type": "resnet32", "shortcut": "A"})", {32, 461'872, 10, 2'272, 464'154, 68'862'592, 432, 442'368, 640}},
      {R"({"type": "resnet44", "shortcut": "A"})", {44, 655'408, 10, 3'168, 658'586, 97'174'144, 432, 442'368, 640}},
      {R"({"type": "resnet56", "shortcut": "A"})", {56, 848'944, 10, 4'064, 853'018, 125'485'696, 432, 442'368, 640}},
      {R"({"type": "resnet110", "shortcut": "A"})",
       {110, 1'719'856, 10, 8'096, 1'727'962, 252'887'680, 432, 442'368, 640}},
      {R"({"type": "resnet20", "shortcut": "B"})", {22, 270'896, 10, 1'568, 272'474, 40'813'184, 432, 442'368, 640}},
      {R"({"type": "resnet32", "shortcut": "B"})", {34, 464'432, 10, 2'464, 466'906, 69'124'736, 432, 442'368, 640}},
      {R"({"type": "resnet44", "shortcut": "B"})", {46, 657'968, 10, 3'360, 661'338, 97'436'288, 432, 442'368, 640}},
      {R"({"type": "resnet56", "shortcut": "B"})", {58, 851'504, 10, 4'256, 855'770, 125'747'840, 432, 442'368, 640}},
      {R"({"type": "resnet110", "shortcut": "B"})",
       {112, 1'722'416, 10, 8'288, 1'730'714, 253'149'824, 432, 442'368, 640}},
      {R"({"type": "resnet20", "order": "lq", "shortcut": "A"})",
       {20, 268'336, 10, 2'048, 270'394, 40'551'040, 432, 442'368, 640}},
      {R"({"type": "resnet20", "order": "lq", "shortcut": "B"})",
       {22, 270'896, 10, 2'240, 273'146, 40'813'184, 432, 442'368, 640}},
      {R"({"type": "resnet56", "order": "lq", "shortcut": "A"})",
       {56, 848'944, 10, 6'080, 855'034, 125'485'696, 432, 442'368, 640}},
      {R"({"type": "vgg_small"})", {7, 4'656'512, 10, 3'584, 4'660'106, 607'600'640, 3'456, 3'538'944, 81'920}},
      {R"({"type": "vgg7"})", {8, 12'973'440, 10, 5'632, 12'979'082, 615'917'568, 3'456, 3'538'944, 10'240}},
      {R"({"type": "bnn_convnet"})", {9, 14'022'016, 3'850, 7'700, 14'033'566, 616'966'144, 3'456, 3'538'944, 10'240}},
      {R"({"type": "alexnet_bn"})",
       {8, 62'367'776, 1'000, 19'136, 62'387'912, 1'135'256'096, 34'848, 105'415'200, 4'096'000}},
      {R"({"type": "alexnet_xnor"})",
       {8, 62'367'776, 10'568, 19'136, 62'397'480, 1'135'256'096, 34'848, 105'415'200, 4'096'000}},
      {R"({"type": "alexnet_dorefa"})",
       {8, 60'961'280, 5'192, 18'944, 60'985'416, 1'937'082'368, 41'472, 120'932'352, 4'096'000}},
      {R"({"type": "vgg16_bn"})",
       {16, 138'344'128, 13'416, 8'448, 138'365'992, 15'470'264'320, 1'728, 86'704'128, 4'096'000}},
      {R"({"type": "vgg_variant"})",
       {13, 138'024'736, 1'000, 24'256, 138'049'992, 10'705'149'952, 14'112, 177'020'928, 4'096'000}},
      {R"({"type": "resnet18", "shortcut": "B"})",
       {21, 11'678'912, 1'000, 9'600, 11'689'512, 1'814'073'344, 9'408, 118'013'952, 512'000}},
      {R"({"type": "resnet34", "shortcut": "B"})",
       {37, 21'779'648, 1'000, 17'024, 21'797'672, 3'663'761'408, 9'408, 118'013'952, 512'000}},
      {R"({"type": "resnet50", "shortcut": "B"})",
       {54, 25'502'912, 1'000, 53'120, 25'557'032, 4'089'184'256, 9'408, 118'013'952, 2'048'000}},
      {R"({"type": "resnet101", "shortcut": "B"})",
       {105, 44'442'816, 1'000, 105'344, 44'549'160, 7'801'405'440, 9'408, 118'013'952, 2'048'000}},
      {R"({"type": "resnet152", "shortcut": "B"})",
       {156, 60'040'384, 1'000, 151'424, 60'192'808, 11'513'626'624, 9'408, 118'013'952, 2'048'000}},
      {R"({"type": "resnet50", "shortcut": "B", "stride": "1x1"})",
       {54, 25'502'912, 1'000, 53'120, 25'557'032, 3'857'973'248, 9'408, 118'013'952, 2'048'000}},
      {R"({"type": "resnet18", "shortcut": "A"})",
       {18, 11'506'880, 1'000, 7'808, 11'515'688, 1'794'805'760, 9'408, 118'013'952, 512'000}},
      {R"({"type": "resnet34", "shortcut": "A"})",
       {34, 21'607'616, 1'000, 15'232, 21'623'848, 3'644'493'824, 9'408, 118'013'952, 512'000}},
      {R"({"type": "resnet50", "shortcut": "A"})",
       {50, 22'734'016, 1'000, 45'440, 22'780'456, 3'729'522'688, 9'408, 118'013'952, 2'048'000}},
      {R"({"type": "resnet18", "order": "pre", "shortcut": "B"})",
       {21, 11'678'912, 1'000, 7'808, 11'687'720, 1'814'073'344, 9'408, 118'013'952, 512'000}},
      {R"({"type": "resnet34", "order": "pre", "shortcut": "B"})",
       {37, 21'779'648, 1'000, 15'232, 21'795'880, 3'663'761'408, 9'408, 118'013'952, 512'000}},
      {R"({"type": "resnet50", "order": "pre", "shortcut": "B"})",
       {54, 25'502'912, 1'000, 45'440, 25'549'352, 4'089'184'256, 9'408, 118'013'952, 2'048'000}},
      {R"({"type": "resnet101", "order": "pre", "shortcut": "B"})",
       {105, 44'442'816, 1'000, 97'664, 44'541'480, 7'801'405'440, 9'408, 118'013'952, 2'048'000}},
      {R"({"type": "resnet152", "order": "pre", "shortcut": "B"})",
       {156, 60'040'384, 1'000, 143'744, 60'185'128, 11'513'626'624, 9'408, 118'013'952, 2'048'000}},
      {R"({"type": "resnet18", "order": "lq", "shortcut": "B"})",
       {21, 11'678'912, 1'000, 13'440, 11'693'352, 1'814'073'344, 9'408, 118'013'952, 512'000}},
      {R"({"type": "resnet34", "order": "lq", "shortcut": "B"})",
       {37, 21'779'648, 1'000, 24'576, 21'805'224, 3'663'761'408, 9'408, 118'013'952, 512'000}},
      {R"({"type": "resnet50", "order": "lq", "shortcut": "A"})",
       {50, 22'734'016, 1'000, 75'648, 22'810'664, 3'729'522'688, 9'408, 118'013'952, 2'048'000}},
      {R"({"type": "resnet50", "order": "lq", "shortcut": "B"})",
       {54, 25'502'912, 1'000, 83'328, 25'587'240, 4'089'184'256, 9'408, 118'013'952, 2'048'000}},
      {R"({"type": "resnet18", "order": "lq", "shortcut": "A"})",
       {18, 11'506'880, 1'000, 11'648, 11'519'528, 1'794'805'760, 9'408, 118'013'952, 512'000}},
      {R"({"type": "densenet121"})",
       {121, 7'894'208, 1'000, 83'648, 7'978'856, 2'834'161'664, 9'408, 118'013'952, 1'024'000}},
      {R"({"type": "googlenet_variant"})",
       {49, 12'249'792, 1'000, 18'016, 12'268'808, 3'184'490'496, 9'408, 118'013'952, 1'024'000}},
      {R"({"type": "inception_v3"})",
       {95, 23'799'136, 1'000, 34'432, 23'834'568, 5'713'216'096, 864, 19'181'664, 2'048'000}},
      {R"({"type": "inception_v3", "bn_scale": false})",
       {95, 23'799'136, 1'000, 17'216, 23'817'352, 5'713'216'096, 864, 19'181'664, 2'048'000}},
      {R"({"type": "inception_v3", "aux": true})",
       {98, 27'123'040, 2'000, 36'224, 27'161'264, 5'718'899'296, 864, 19'181'664, 2'048'000}},
      {R"({"type": "mobilenet_v1", "multiplier": 1.0})",
       {28, 4'209'088, 1'000, 21'888, 4'231'976, 568'740'352, 864, 10'838'016, 1'024'000}},
      {R"({"type": "mobilenet_v1", "multiplier": 0.75})",
       {28, 2'568'144, 1'000, 16'416, 2'585'560, 325'400'448, 648, 8'128'512, 768'000}},
      {R"({"type": "mobilenet_v1", "multiplier": 0.5})",
       {28, 1'319'648, 1'000, 10'944, 1'331'592, 149'497'088, 432, 5'419'008, 512'000}},
      {R"({"type": "mobilenet_v1", "multiplier": 0.25})",
       {28, 463'600, 1'000, 5'472, 470'072, 41'030'272, 216, 2'709'504, 256'000}},
      {R"({"type": "squeezenext23"})",
       {112, 2'339'008, 0, 22'720, 2'361'728, 742'070'464, 9'408, 115'915'968, 128'000}},
      {R"({"type": "squeezenext23", "input": [224, 224, 3]})",
       {112, 2'339'008, 0, 22'720, 2'361'728, 719'066'816, 9'408, 111'776'448, 128'000}},
      {R"({"type": "squeezenext23", "multiplier": 1})",
       {112, 705'728, 0, 11'552, 717'280, 277'999'808, 9'408, 115'915'968, 128'000}},
  };
  for (const Row& row : rows) check(row);
}

TEST_CASE("models: the variants that the specification counts in its text have those totals") {
  const auto total = [](const char* model) { return totals_of(parse_config(model, "row").json).total; };
  const auto macs = [](const char* model) { return totals_of(parse_config(model, "row").json).macs; };
  CHECK(total(R"({"type": "resnet20", "order": "pre"})") == 269'722);
  CHECK(total(R"({"type": "resnet20", "order": "pre", "shortcut": "B"})") == 272'282);
  CHECK(total(R"({"type": "vgg_small", "affine": "last"})") == 4'657'546);
  // LQ-Nets' code and HWGQ's.
  CHECK(total(R"({"type": "alexnet_bn", "affine": "conv", "fc_bias": true})") == 62'379'720);
  CHECK(total(R"({"type": "alexnet_bn", "affine": "none"})") == 62'368'776);
  CHECK(total(R"({"type": "alexnet_xnor", "affine": "none"})") == 62'378'344);
  CHECK(total(R"({"type": "vgg_variant", "affine": "none"})") == 138'025'736);
  CHECK(total(R"({"type": "googlenet_variant", "affine": "last"})") == 12'252'840);
  const Totals lq = totals_of(parse_config(R"({"type": "densenet121", "order": "lq"})", "row").json);
  CHECK(lq.weights == 7'894'208);
  CHECK(lq.macs == 2'834'161'664);
  CHECK(macs(R"({"type": "mobilenet_v1", "input": [192, 192, 3]})") == 418'121'728);
  CHECK(macs(R"({"type": "mobilenet_v1", "multiplier": 0.75, "input": [160, 160, 3]})") == 166'396'800);
  CHECK(macs(R"({"type": "mobilenet_v1", "multiplier": 0.5, "input": [128, 128, 3]})") == 49'160'192);
  CHECK(macs(R"({"type": "mobilenet_v1", "multiplier": 0.25, "input": [192, 192, 3]})") == 30'212'608);
  CHECK(total(R"({"type": "mobilenet_v1", "classes": 1001})") == 4'233'001);
  CHECK(macs(R"({"type": "mobilenet_v1", "classes": 1001})") == 568'741'376);
  // 64 x 64 pixels, 200 classes, a 3x3 convolution in front: 9,408 - 1,728 weights and 800 classes fewer.
  CHECK(total(R"({"type": "resnet18", "stem": "3x3", "classes": 200, "input": [64, 64, 3]})") ==
        11'689'512 - (9'408 - 1'728) - 800 * 513);
}
