// make_tiny_model KIND OUT.gguf [--chat-template] [--endless] [--merged]
//
// tiny-adapter-1 and -2 are for tiny-llama; --merged adds the first to its weights.
#include <cstdio>
#include <optional>
#include <string_view>

#include "gguf/writer.h"
#include "support/tiny_models/tiny_models.h"

namespace {

int Usage() {
  std::fputs(
      "usage: make_tiny_model "
      "tiny-llama|tiny-bert|tiny-reranker|tiny-window|tiny-recurrent|tiny-hybrid|tiny-2d|"
      "tiny-adapter-1|tiny-adapter-2|tiny-adapter-unfit|"
      "llava-projector|gemma-projector|qwen-projector|sound-projector "
      "OUT.gguf [--chat-template] [--endless] [--merged]\n",
      stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return Usage();
  corral::testing::TinyLlamaOptions options;
  for (int i = 3; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--chat-template") {
      options.has_chat_template = true;
    } else if (flag == "--endless") {
      options.is_endless = true;
    } else if (flag == "--merged") {
      options.merged = {{1, 1}};
    } else {
      return Usage();
    }
  }
  const std::string_view kind = argv[1];
  std::optional<corral::gguf::Writer> writer;
  if (kind == "tiny-llama") {
    writer = corral::testing::TinyLlama(options);
  } else if (kind == "tiny-bert" && argc == 3) {
    writer = corral::testing::TinyBert();
  } else if (kind == "tiny-reranker" && argc == 3) {
    writer = corral::testing::TinyReranker();
  } else if (kind == "tiny-window" && argc == 3) {
    writer = corral::testing::TinyWindow();
  } else if (kind == "tiny-recurrent" && argc == 3) {
    writer = corral::testing::TinyRecurrent();
  } else if (kind == "tiny-hybrid" && argc == 3) {
    writer = corral::testing::TinyHybrid();
  } else if (kind == "tiny-adapter-1" && argc == 3) {
    writer = corral::testing::TinyAdapter(1);
  } else if (kind == "tiny-adapter-2" && argc == 3) {
    writer = corral::testing::TinyAdapter(2);
  } else if (kind == "tiny-adapter-unfit" && argc == 3) {
    writer = corral::testing::UnfitAdapter();
  } else if (kind == "tiny-2d" && argc == 3) {
    writer = corral::testing::TinyTwoDimensional();
  } else if (kind == "llava-projector" && argc == 3) {
    writer = corral::testing::TinyLlavaProjector();
  } else if (kind == "gemma-projector" && argc == 3) {
    writer = corral::testing::TinyGemmaProjector();
  } else if (kind == "qwen-projector" && argc == 3) {
    writer = corral::testing::TinyQwenProjector();
  } else if (kind == "sound-projector" && argc == 3) {
    writer = corral::testing::TinySoundProjector();
  } else {
    return Usage();
  }
  if (const corral::Status written = writer->Write(argv[2]); !written) {
    std::fprintf(stderr, "make_tiny_model: %s\n", written.error().message.c_str());
    return 1;
  }
  return 0;
}
