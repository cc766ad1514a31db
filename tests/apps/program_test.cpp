#include "apps/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "core/file.h"
#include "core/safetensors.h"
#include "tests/apps/outcome.h"
#include "tests/apps/scratch.h"
#include "third_party/doctest.h"

namespace nibble {
namespace {

using test::Outcome;
using test::run;

constexpr const char* kConfig = R"({
  "name": "tiny",
  "model": {"type": "small_resnet", "width": 2},
  "data": {"type": "embedded", "train": 256, "test": 40, "batch": 16},
  "optim": {"type": "sgd", "lr": 0.05, "momentum": 0.9},
  "train": {"epochs": 8, "log_every": 1, "checkpoint_every_steps": 5}
})";

std::string write_config(const test::Scratch& folder, const std::string& text = kConfig) {
  const std::string path = folder / "tiny.json";
  write_file_atomically(path, text);
  return path;
}

/// Starts the built program with its output thrown away.
pid_t start(const std::vector<std::string>& args) {
  std::vector<const char*> argv = {NIBBLE_PROGRAM};
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    const int nowhere = open("/dev/null", O_WRONLY);
    dup2(nowhere, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    execv(argv[0], const_cast<char**>(argv.data()));
    _exit(127);
  }
  return child;
}

int wait_for(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Waits until the run's metrics file has that many lines; false if the process ended before.
bool wait_for_lines(const std::string& path, int count, pid_t child) {
  for (int i = 0; i < 60000; ++i) {
    std::ifstream file(path);
    int lines = 0;
    for (std::string line; std::getline(file, line);) ++lines;
    if (lines >= count) return true;
    if (kill(child, 0) != 0) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

std::string weights(const std::string& folder) {
  std::string bytes;
  for (const auto& [name, tensor] : read_safetensors(folder + "/last.safetensors").tensors)
    if (name.rfind("train/", 0) != 0) bytes.append(reinterpret_cast<const char*>(tensor.raw()), tensor.bytes());
  return bytes;
}

}  // namespace

TEST_CASE("program: help, version and lists go to standard output with exit code 0") {
  for (const std::vector<std::string>& args :
       std::vector<std::vector<std::string>>{{"--help"}, {"--version"}, {"help", "train"}, {"bench"}, {"reference"}}) {
    const Outcome outcome = run(args);
    CHECK(outcome.code == 0);
    CHECK_FALSE(outcome.out.empty());
    CHECK(outcome.err.empty());
  }
  for (const Command& command : commands()) {
    CAPTURE(command.spec.name);
    const Outcome outcome = run({command.spec.name, "--help"});
    CHECK(outcome.code == 0);
    CHECK(outcome.out.find("usage: nibble " + command.spec.name) == 0);
  }
}

TEST_CASE("program: bad usage ends with code 2 and says what was wrong") {
  const test::Scratch folder("usage");
  const std::string config = write_config(folder);
  CHECK(run({}).code == 2);
  CHECK(run({"trian"}).says("did you mean 'train'?"));
  CHECK(run({"train"}).code == 2);
  CHECK(run({"train", config, "--sett", "a"}).says("did you mean '--set'?"));
  CHECK(run({"train", config, "--threads", "0"}).code == 2);
  CHECK(run({"train", config, "--set", "/train/epochs"}).code == 2);
  CHECK(run({"train", folder / "none.json"}).says("none.json"));
  CHECK(run({"train", folder / "none.json"}).code == 2);
  CHECK(run({"train", "--resume"}).code == 2);
  CHECK(run({"eval", folder / "none"}).code == 2);
  CHECK(run({"eval", folder / ""}).code == 2);
  CHECK(run({"import", "x.safetensors"}).code == 2);
  CHECK(run({"bench", "nothing"}).code == 2);
}

TEST_CASE("program: a bad config ends with code 2 and its place") {
  const test::Scratch folder("config");
  const auto check = [&](const std::string& text, const std::string& part) {
    const std::string path = write_config(folder, text);
    for (const char* command : {"check", "train"}) {
      const Outcome outcome = run({command, path});
      CAPTURE(outcome.err);
      CHECK(outcome.code == 2);
      CHECK(outcome.says(part));
      CHECK(outcome.says("tiny.json"));
    }
  };
  check("{", "this is no JSON");
  check("[]", "expected an object");
  check("{}", "'model' is missing");
  std::string text = kConfig;
  text.replace(text.find("\"width\""), 7, "\"witdh\"");
  check(text, "unknown key 'witdh', did you mean 'width'?");
  const Outcome good = run({"check", write_config(folder)});
  CHECK(good.code == 0);
  CHECK(good.out.rfind("OK ", 0) == 0);
  const Outcome both = run({"check", folder / "none.json", folder / "tiny.json"});
  CHECK(both.code == 2);
  CHECK(both.out.rfind("OK ", 0) == 0);
}

TEST_CASE("program: a folder that cannot be made and a checkpoint that is none end with code 1") {
  const test::Scratch folder("failure");
  const std::string config = write_config(folder);
  const Outcome outcome = run({"train", config, "--out", config + "/run"});
  CHECK(outcome.code == 1);
  CHECK(outcome.says(config + "/run"));
  CHECK(run({"train", config, "--out", "/proc/run"}).code == 1);
  CHECK(run({"eval", config}).code == 1);
  CHECK(run({"predict", config, config}).code == 1);
  CHECK(run({"import", config, "--model", R"({"type": "resnet20"})", "-o", folder / "x"}).code == 1);
}

TEST_CASE("program: a result that cannot be written is a failure") {
  std::ofstream full("/dev/full");
  std::ostringstream err;
  Console console{full, err, false};
  CHECK(run_program({"reference"}, console) == 1);
}

TEST_CASE("program: train, eval, inspect and predict agree on one run") {
  const test::Scratch folder("whole");
  const std::string out = folder / "run";
  const Outcome trained = run({"train", write_config(folder), "--out", out, "--set", "/train/epochs=1", "--json"});
  REQUIRE(trained.code == 0);
  const Json results = Json::parse(trained.out);
  const Outcome evaluated = run({"eval", out, "--json", "--batch", "7"});
  REQUIRE(evaluated.code == 0);
  const Json measured = Json::parse(evaluated.out);
  CHECK(measured["total"] == 40);
  CHECK(measured["correct"] == results["correct"]);
  CHECK(measured["top1"] == results["top1"]);
  const Outcome other = run({"eval", out, "--json", "--data", R"({"test": 30})"});
  CHECK(Json::parse(other.out)["total"] == 30);

  const Outcome table = run({"inspect", out, "--json"});
  REQUIRE(table.code == 0);
  CHECK(Json::parse(table.out)["parameters"] == results["parameters"]);
  CHECK(run({"inspect", folder / "tiny.json"}).out == run({"inspect", out}).out);

  // A 1x1 PNG, which is scaled to what the network takes.
  const unsigned char png[] = {0x89, 'P',  'N',  'G',  13,   10,  26,  10,  0,   0,    0,   13,   'I',  'H',
                               'D',  'R',  0,    0,    0,    1,   0,   0,   0,   1,    8,   2,    0,    0,
                               0,    0x90, 0x77, 0x53, 0xde, 0,   0,   0,   12,  'I',  'D', 'A',  'T',  8,
                               0xd7, 0x63, 0xf8, 0xcf, 0xc0, 0,   0,   3,   1,   1,    0,   0x18, 0xdd, 0x8d,
                               0xb0, 0,    0,    0,    0,    'I', 'E', 'N', 'D', 0xae, 'B', 0x60, 0x82};
  const std::string image = folder / "dot.png";
  write_file_atomically(image, std::as_bytes(std::span(png)));
  const Outcome predicted = run({"predict", out, image, "--json"});
  REQUIRE_MESSAGE(predicted.code == 0, predicted.err);
  const Json top = Json::parse(predicted.out)[0]["top"];
  CHECK(top.size() == 5);
  CHECK(top[0]["probability"].get<double>() >= top[1]["probability"].get<double>());
  const Outcome bad = run({"predict", out, folder / "tiny.json"});
  CHECK(bad.code == 1);
  CHECK(bad.says("tiny.json"));
}

TEST_CASE("program: killed in mid-epoch and resumed, a run ends with the same weights") {
  const test::Scratch folder("kill");
  const std::string config = write_config(folder);
  REQUIRE(wait_for(start({"train", config, "--out", folder / "whole"})) == 0);
  const pid_t child = start({"train", config, "--out", folder / "killed"});
  REQUIRE(wait_for_lines(folder / "killed/metrics.jsonl", 24, child));
  kill(child, SIGKILL);
  REQUIRE(wait_for(child) == 128 + SIGKILL);
  REQUIRE(wait_for(start({"train", config, "--out", folder / "killed", "--resume", "--threads", "1"})) == 0);
  CHECK(weights(folder / "whole") == weights(folder / "killed"));
}

TEST_CASE("program: Ctrl-C saves, says how to go on and ends with code 130") {
  const test::Scratch folder("interrupt");
  const std::string config = write_config(folder);
  REQUIRE(wait_for(start({"train", config, "--out", folder / "whole"})) == 0);
  const pid_t child = start({"train", config, "--out", folder / "stopped"});
  REQUIRE(wait_for_lines(folder / "stopped/metrics.jsonl", 20, child));
  kill(child, SIGINT);
  REQUIRE(wait_for(child) == 130);
  REQUIRE(wait_for(start({"train", folder / "stopped", "--resume"})) == 0);
  CHECK(weights(folder / "whole") == weights(folder / "stopped"));
}

}  // namespace nibble
