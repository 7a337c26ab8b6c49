// The interactive prompt of `run`: reads entries, answers them, obeys slash commands.
//
//   entry ──▶ """ block open? ──▶ /command? ──▶ question ──▶ /api/chat, the whole conversation each
//   time
//
// Commands match by their first word. An entry of several lines (pasted, or typed with Ctrl+J) is
// never a command. One thread; an answer that streams in is stopped by Ctrl+C.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/context.h"
#include "cli/history.h"
#include "cli/line_editor.h"
#include "cli/session.h"

namespace corral::cli {

class Repl {
 public:
  Repl(Context& context, Session session);

  // Loads the model, then reads until /bye or the end of input.
  // Errors: the server's, unless the conversation can go on after them.
  Status Run();

 private:
  enum class Block { kNone, kQuestion, kSystem };  // which """ block is open
  enum class Input { kEntry, kInterrupt, kEnd };
  using Words = std::vector<std::string>;

  Input ReadEntry(std::string* entry);
  // The text that the user's editor gave back; the old one if it failed.
  std::string EditElsewhere(const std::string& text);
  void ShowLoadedMessages();

  // Both say with *is_over whether the prompt ends.
  Status OnEntry(const std::string& entry, bool* is_over);
  Status OnCommand(const std::string& line, const Words& words, bool* is_over);
  // A line in an open block, or one that opens one.
  Status OnBlockLine(std::string_view line);
  Status Ask(const std::string& question);

  Status OnSet(const std::string& line, const Words& words);
  Status OnSetThink(bool is_on, const std::string& level);
  void OnSetParameter(const Words& words);
  void OnSetSystem(std::string_view text);
  void SetSystem(std::string text);
  Status OnShow(const Words& words);
  void ShowParameters(const ShowReply& reply);
  Status OnLoad(const Words& words);
  Status OnSave(const Words& words);
  void OnHelp(const Words& words);

  void Say(std::string_view line);  // to stdout, with a line break
  void Print(std::string_view text) { context_.console.Out(text); }

  Context& context_;
  Session session_;
  History history_;
  LineEditor editor_;
  Block block_ = Block::kNone;
  std::string block_text_;
  InterruptStop interrupts_;
  StopToken stop_;  // of what the newest entry asked for
};

}  // namespace corral::cli
