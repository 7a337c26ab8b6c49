// The line editor: bytes of keys in, events and bytes for the screen out. Pure: it knows no
// terminal, so tests feed it.
//
//            bytes                    event                screen
//   keys ───────────────▶ LineEditor ───────▶ the prompt     │
//                             └──────────────────────────────▶ terminal in raw mode
//
// An entry may have several lines (Ctrl+J, a paste); the screen shows the first after `prompt`,
// others after `alt_prompt`. After every key the entry is drawn again in place. One thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace corral::cli {

struct EditorPrompts {
  std::string prompt = ">>> ";
  std::string alt_prompt = "... ";
  std::string placeholder = "Send a message (/? for help)";
  std::string alt_placeholder = "Press Enter to send";
};

class LineEditor {
 public:
  enum class Event {
    kNone,        // wants more keys
    kEntry,       // Enter: take the entry
    kInterrupt,   // Ctrl+C
    kEndOfInput,  // Ctrl+D on an empty entry
    kOpenEditor,  // Ctrl+G: edit the entry elsewhere
    kSuspend,     // Ctrl+Z; go on with Redraw
  };

  explicit LineEditor(EditorPrompts prompts) : prompts_(std::move(prompts)) {}

  // Begins an entry. `history`, oldest first, is what the arrow keys walk through; it must stay
  // until the next Start. Returns what to write. Keys that were typed ahead are kept: call Feed
  // with nothing first.
  std::string Start(const std::vector<std::string>& history, int columns, bool use_alt_prompt,
                    std::string_view prefill = {});
  // Takes keys up to an event; what follows the event is kept for the next entry. `*screen` gets
  // what to write.
  Event Feed(std::string_view keys, std::string* screen);
  // Draws the entry again on a screen that somebody else used.
  std::string Redraw();
  // For what is drawn from now on.
  void SetColumns(int columns) { columns_ = columns; }

  std::string entry() const;

 private:
  using Text = std::u32string;
  enum class Key {
    kUp,
    kDown,
    kLeft,
    kRight,
    kHome,
    kEnd,
    kDelete,
    kPasteStart,
    kPasteEnd,
    kUnknown
  };
  struct Layout {
    std::vector<std::string> rows;
    std::vector<int> widths;
    int cursor_row = 0;
    int cursor_column = 0;
  };

  // Takes one key off pending_. False: its rest has not come yet.
  bool TakeKey(Event* event, std::string* screen);
  bool TakeEscape();
  void OnEscapedLetter(char32_t letter);
  void OnKey(Key key);
  Event OnControl(char control, std::string* screen);
  void OnPasted(char32_t rune);
  void Insert(char32_t rune);
  void Erase(std::size_t from, std::size_t to);
  void ShowHistory(std::size_t index);
  std::size_t LineStart() const;
  std::size_t LineEnd() const;
  std::size_t PreviousCharacter(std::size_t at) const;
  std::size_t NextCharacter(std::size_t at) const;
  std::size_t PreviousWord() const;
  std::size_t NextWord() const;
  Layout MakeLayout() const;
  std::string Draw();
  // Draws the entry without a placeholder, the cursor behind it.
  std::string DrawFinal();

  EditorPrompts prompts_;
  const std::vector<std::string>* history_ = nullptr;
  int columns_ = 80;
  bool use_alt_prompt_ = false;
  std::string pending_;  // bytes that are not taken yet
  bool is_pasting_ = false;
  bool was_carriage_return_ = false;  // in a paste: CR LF is one line break
  bool is_final_ = false;
  Text text_;
  std::size_t cursor_ = 0;         // index into text_
  std::size_t history_index_ = 0;  // history_->size(): the entry being typed
  Text draft_;                     // what was typed before walking through the history
  int drawn_cursor_row_ = 0;  // where the terminal's cursor is, counted from the entry's first row
};

}  // namespace corral::cli
