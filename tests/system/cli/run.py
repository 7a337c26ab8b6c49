#!/usr/bin/env python3
"""Drives the real command line, without a terminal and in one.

  run.py CORRAL --toy           against toy_server.py: no model, no engine
  run.py CORRAL --model GGUF    against `CORRAL serve` with a store of its own, the model created from GGUF
  run.py CORRAL --starter       the same with the starter model (scripts/fetch-model)

Python's standard library only. Every wait has a deadline.
"""

import argparse
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import fcntl
import struct
import time
import unittest
import urllib.error
import urllib.request

import toy_server

ARGUMENTS = None
DEADLINE_S = 120


class Terminal:
    """A program on a terminal of 80 columns."""

    def __init__(self, words, environment, columns=80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(words[0], words, environment)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.output = ""
        self.seen = 0
        self.status = None

    def read_more(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.fd], [], [], left)[0]:
            raise AssertionError("nothing more came; so far:\n%r" % self.output)
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.output += data.decode("utf-8", "replace")
        return bool(data)

    def expect(self, text):
        """Waits for `text` behind what was expected before."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            at = self.output.find(text, self.seen)
            if at >= 0:
                self.seen = at + len(text)
                return
            if not self.read_more(deadline):
                raise AssertionError("it ended without %r; all it wrote:\n%r" % (text, self.output))

    def send(self, text):
        os.write(self.fd, text.encode())

    def interrupt(self):
        """Ctrl+C, as the terminal driver makes it outside of raw mode."""
        self.send("\x03")

    def wait(self):
        """The exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while self.read_more(deadline):
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def render(output):
    """The lines that a terminal shows: moves back, erasures and carriage returns carried out."""
    lines, row, column = [""], 0, 0
    for move, letter, character in re.findall(r"\x1b\[[?]?([0-9;]*)([A-Za-z])|(.)", output, re.DOTALL):
        count = int(move) if move.isdigit() else 1
        if character == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif character == "\r":
            column = 0
        elif character:
            lines[row] = lines[row].ljust(column)[:column] + character + lines[row][column + 1:]
            column += 1
        elif letter == "D":
            column -= count
        elif letter == "G":
            column = count - 1
        elif letter == "A":
            row -= count
        elif letter == "K":
            lines[row] = "" if move == "2" else lines[row][:column]
    return lines


class CommandLineTest(unittest.TestCase):
    maxDiff = None
    url = ""
    home = ""

    @classmethod
    def environment(cls, **more):
        keep = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        keep.update({"OLLAMA_HOST": cls.url, "HOME": cls.home, "TERM": "xterm-256color"})
        keep.update(more)
        return keep

    def run_words(self, *words, stdin="", folder=None, **environment):
        return subprocess.run([ARGUMENTS.program, *words], input=stdin, capture_output=True, text=True,
                              timeout=DEADLINE_S, env=self.environment(**environment), cwd=folder)

    def check(self, result, stdout, stderr="", code=0):
        self.assertEqual((result.stdout, result.stderr, result.returncode), (stdout, stderr, code))

    def terminal(self, *words, **environment):
        return Terminal([ARGUMENTS.program, *words], self.environment(**environment))


class ToyTest(CommandLineTest):
    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.mkdtemp(prefix="corral-cli-home-")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.home)

    def setUp(self):
        self.server = toy_server.ToyServer()
        type(self).url = self.server.address

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()

    # ---- without a terminal ----

    def test_list_ps_and_show_print_tables(self):
        listed = self.run_words("list")
        self.assertRegex(listed.stdout, r"^NAME +ID +SIZE +MODIFIED +\ntoy:latest    abcdef012345    98 MB    \d+ years ago    \n$")
        self.check(self.run_words("ps"),
                   "NAME          ID              SIZE     PROCESSOR          CONTEXT    UNTIL   \n"
                   "toy:latest    abcdef012345    100 B    48%/52% CPU/GPU    4096       Forever    \n")
        shown = self.run_words("show", "toy")
        self.assertIn("  Model\n    architecture        toy       \n    parameters          1M        \n", shown.stdout)
        self.check(self.run_words("show", "toy", "--template"), "{{ .Prompt }}")

    def test_a_question_as_words_is_answered_on_stdout_only(self):
        self.check(self.run_words("run", "toy", "hello", "there"), "You said: hello there\n\n")

    def test_piped_input_stands_before_the_words(self):
        self.check(self.run_words("run", "toy", "and", "more", stdin="hi\n"), "You said: hi\n and more\n\n")
        self.assertEqual(self.server.bodies("/api/generate")[-1]["prompt"], "hi\n and more")

    def test_verbose_timings_go_to_stderr(self):
        result = self.run_words("run", "--verbose", "toy", "hi")
        self.assertEqual(result.stdout, "You said: hi\n\n")
        self.assertIn("total duration:       1.5s\n", result.stderr)
        self.assertIn("eval rate:            40.00 tokens/s\n", result.stderr)

    def test_a_missing_model_is_pulled_with_plain_lines(self):
        result = self.run_words("run", "gone", "hi")
        self.assertEqual(result.stdout, "You said: hi\n\n")
        self.assertNotIn("\x1b", result.stderr)
        self.assertEqual(result.stderr.splitlines()[0], "pulling manifest")
        self.assertIn("pulling abababababab: 50% of 1 KB\n", result.stderr)
        self.assertEqual(result.stderr.splitlines()[-1], "success")

    def test_errors_go_to_stderr_with_exit_code_1(self):
        self.check(self.run_words("show", "nope"), "", "Error: model 'nope' not found\n", 1)
        self.check(self.run_words("rm", "nope"), "", "Error: model 'nope' not found\n", 1)
        self.check(self.run_words("stop", "nope"), "", "Error: couldn't find model \"nope\" to stop\n", 1)
        result = self.run_words("pull", "nope")
        self.assertEqual(result.stderr, "pulling manifest\nError: pull model manifest: file does not exist\n")
        self.assertEqual(result.returncode, 1)

    def test_a_server_that_is_down_is_named(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % probe.getsockname()[1]
            self.check(self.run_words("ps", OLLAMA_HOST=address), "",
                       "Error: could not connect to ollama server, run 'ollama serve' to start it\n", 1)
            self.assertEqual(self.run_words("health", OLLAMA_HOST=address).returncode, 1)

    def test_health_answers_with_its_exit_code(self):
        self.check(self.run_words("health"), "")
        self.check(self.run_words("health", "--ready"), "", "Error: not ready\n", 1)

    def test_a_proxy_is_not_used_for_this_machine(self):
        result = self.run_words("list", HTTP_PROXY="http://127.0.0.1:1", http_proxy="http://127.0.0.1:1")
        self.assertEqual(result.returncode, 0)

    def test_create_uploads_files_and_sends_what_the_modelfile_says(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "weights.gguf"), "wb") as file:
                file.write(b"GGUF" + bytes(3_000_000))
            with open(os.path.join(folder, "Modelfile"), "w") as file:
                file.write("FROM ./weights.gguf\nSYSTEM hello\nPARAMETER temperature 0.5\nPARAMETER stop a\n"
                           "MESSAGE user hi: you\nLICENSE MIT\n")
            result = self.run_words("create", "made", "-f", os.path.join(folder, "Modelfile"))
            self.assertEqual((result.stdout, result.returncode), ("", 0), result.stderr)
            self.assertNotIn("\x1b", result.stderr)
            body = self.server.bodies("/api/create")[-1]
            digest = body["files"]["weights.gguf"]
            self.assertEqual(len(self.server.bodies("/api/blobs/" + digest)[0]), 3_000_004)
            self.assertEqual(body, {"model": "made", "files": {"weights.gguf": digest}, "system": "hello",
                                    "license": ["MIT"], "parameters": {"temperature": 0.5, "stop": ["a"]},
                                    "messages": [{"role": "user", "content": "hi: you"}]})
            # It is there now: a second time nothing is sent.
            self.assertEqual(self.run_words("create", "again", folder=folder).returncode, 0)
            self.assertEqual(len(self.server.bodies("/api/blobs/" + digest)), 1)

    def test_a_modelfile_that_does_not_exist_is_an_error(self):
        result = self.run_words("create", "made", "-f", "/does/not/exist")
        self.check(result, "", "Error: specified Modelfile wasn't found: /does/not/exist\n", 1)

    def test_ctrl_c_stops_a_one_shot_answer_with_exit_code_0(self):
        process = subprocess.Popen([ARGUMENTS.program, "run", "toy", "endless"], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment())
        self.assertEqual(process.stdout.read(9), b"more more")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE_S)
        self.assertEqual(process.returncode, 0)
        self.assertTrue(self.server.left.wait(DEADLINE_S), "the request goes on")

    # ---- in a terminal ----

    def test_the_prompt_answers_keeps_the_conversation_and_leaves(self):
        terminal = self.terminal("run", "toy")
        terminal.expect(">>> Who are you?")
        terminal.expect("A toy.")
        terminal.expect("Send a message (/? for help)")
        terminal.send("hello\r")
        terminal.expect("You said: hello")
        terminal.expect(">>> ")
        terminal.send("again\r")
        terminal.expect("You said: again")
        terminal.expect(">>> ")
        terminal.send("/bye\r")
        self.assertEqual(terminal.wait(), 0)
        self.assertEqual([message["content"] for message in self.server.bodies("/api/chat")[-1]["messages"]],
                         ["hello", "You said: hello", "again"])

    def test_history_comes_back_in_the_next_session(self):
        first = self.terminal("run", "toy")
        first.expect(">>> \x1b")
        first.send("remember me\r")
        first.expect("You said: remember me")
        first.expect(">>> ")
        first.send("\x04")
        self.assertEqual(first.wait(), 0)
        history = os.path.join(self.home, ".ollama", "history")
        self.assertEqual(os.stat(history).st_mode & 0o777, 0o600)
        second = self.terminal("run", "toy")
        second.expect(">>> \x1b")
        second.send("\x1b[A\r")
        second.expect("You said: remember me")
        second.expect(">>> ")
        second.send("/bye\r")
        self.assertEqual(second.wait(), 0)

    def test_quotes_and_pastes_make_messages_of_several_lines(self):
        terminal = self.terminal("run", "toy")
        terminal.expect("Send a message")
        terminal.send('"""a\r')
        terminal.expect("... ")
        terminal.send('b"""\r')
        terminal.expect("You said: a\r\nb")
        terminal.expect("Send a message")
        terminal.send("\x1b[200~one\rtwo\x1b[201~\r")
        terminal.expect("You said: one\r\ntwo")
        terminal.expect("Send a message")
        terminal.send("\x04")
        self.assertEqual(terminal.wait(), 0)
        self.assertEqual([body["messages"][-1]["content"] for body in self.server.bodies("/api/chat")],
                         ["a\nb", "one\ntwo"])

    def test_ctrl_c_stops_an_answer_and_the_prompt_goes_on(self):
        terminal = self.terminal("run", "toy")
        terminal.expect("Send a message")
        terminal.send("endless\r")
        terminal.expect("more more more")
        terminal.interrupt()
        terminal.expect("Send a message")
        self.assertTrue(self.server.left.wait(DEADLINE_S), "the request goes on")
        terminal.send("\x03")
        terminal.expect("Use Ctrl + d or /bye to exit.")
        terminal.expect("Send a message")
        terminal.send("hello\r")
        terminal.expect("You said: hello")
        terminal.expect("Send a message")
        terminal.send("/exit\r")
        self.assertEqual(terminal.wait(), 0)

    def test_slash_commands(self):
        terminal = self.terminal("run", "toy")
        for command, answer in (("/set parameter temperature hot", "Couldn't set parameter: \"invalid float value [hot]\""),
                                ("/set parameter stop A B", "Set parameter 'stop' to 'A, B'"),
                                ("/set system be brief", "Set system message."),
                                ("/show system", "be brief"),
                                ("/show license", "and more"),
                                ("/setup", "Unknown command '/setup'. Type /? for help"),
                                ("/load nope", "Couldn't find model 'nope'"),
                                ("/save made", "Created new model 'made'"),
                                ("/?", "Use \"\"\" to begin a multi-line message.")):
            terminal.expect("Send a message")
            terminal.send(command + "\r")
            terminal.expect(answer)
        terminal.expect("Send a message")
        terminal.send("hi\r")
        terminal.expect("You said: hi")
        terminal.expect("Send a message")
        terminal.send("/bye\r")
        self.assertEqual(terminal.wait(), 0)
        chat = self.server.bodies("/api/chat")[-1]
        self.assertEqual(chat["options"], {"stop": ["A", "B"]})
        self.assertEqual(chat["messages"][0], {"role": "system", "content": "be brief"})
        self.assertEqual(self.server.bodies("/api/create")[-1]["system"], "be brief")

    def test_ctrl_g_opens_the_users_editor(self):
        editor = os.path.join(self.home, "editor")
        with open(editor, "w") as file:
            file.write("#!/bin/sh\nprintf ' and edited\\n' >> \"$1\"\n")
        os.chmod(editor, 0o755)
        terminal = self.terminal("run", "toy", OLLAMA_EDITOR=editor)
        terminal.expect("Send a message")
        terminal.send("draft\x07")
        terminal.expect("draft and edited")
        terminal.send("\r")
        terminal.expect("You said: draft and edited")
        terminal.expect("Send a message")
        terminal.send("\x04")
        self.assertEqual(terminal.wait(), 0)

    def test_pull_draws_its_progress_in_place(self):
        terminal = self.terminal("pull", "gone")
        self.assertEqual(terminal.wait(), 0)
        lines = [line.rstrip() for line in render(terminal.output)]
        self.assertEqual(lines[0], "pulling manifest")
        self.assertRegex(lines[1], "^pulling abababababab: 100% \u2595\u2588+\u258f   1 KB$")
        self.assertEqual(lines[2:5], ["verifying sha256 digest", "writing manifest", "success"])

    def test_long_answers_wrap_at_words(self):
        terminal = self.terminal("run", "toy", " ".join(["word"] * 40))
        self.assertEqual(terminal.wait(), 0)
        lines = [line.split() for line in render(terminal.output) if line]
        self.assertGreater(len(lines), 2)
        self.assertEqual(sum(lines, []), ["You", "said:"] + ["word"] * 40)
        for line in render(terminal.output):
            self.assertLessEqual(len(line), 75)

    def test_the_terminal_is_left_as_it_was(self):
        terminal = self.terminal("run", "toy")
        terminal.expect("Send a message")
        self.assertEqual(termios.tcgetattr(terminal.fd)[3] & termios.ECHO, 0)
        terminal.send("\x04")
        terminal.expect("\x1b[?2004l")
        self.assertNotEqual(termios.tcgetattr(terminal.fd)[3] & termios.ECHO, 0)
        self.assertEqual(terminal.wait(), 0)


class RealTest(CommandLineTest):
    """The same commands against a real server and a real model."""

    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.mkdtemp(prefix="corral-cli-real-")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            cls.url = "127.0.0.1:%d" % probe.getsockname()[1]
        cls.log = open(os.path.join(cls.home, "serve.log"), "w")
        cls.server = subprocess.Popen([ARGUMENTS.program, "serve"], stdout=cls.log, stderr=cls.log,
                                      env=cls.environment(OLLAMA_MODELS=os.path.join(cls.home, "models")))
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                urllib.request.urlopen("http://%s/" % cls.url, timeout=5).read()
                break
            except (urllib.error.URLError, OSError):
                if cls.server.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(open(cls.log.name).read())
                select.select([], [], [], 0.05)
        modelfile = os.path.join(cls.home, "Modelfile")
        with open(modelfile, "w") as file:
            file.write("FROM %s\nPARAMETER temperature 0\nPARAMETER num_predict 24\n" % os.path.abspath(ARGUMENTS.model))
        made = subprocess.run([ARGUMENTS.program, "create", "starter", "-f", modelfile], capture_output=True, text=True,
                              env=cls.environment(), timeout=600)
        assert made.returncode == 0 and made.stdout == "", made

    @classmethod
    def tearDownClass(cls):
        cls.server.send_signal(signal.SIGTERM)
        try:
            code = cls.server.wait(timeout=30)
        finally:
            cls.server.kill()
            cls.log.close()
            shutil.rmtree(cls.home)
        assert code == 0, "serve ended with %s" % code

    def test_list_and_show_know_the_model(self):
        self.assertRegex(self.run_words("ls").stdout, r"\nstarter:latest    [0-9a-f]{12}    \d+ MB    .*ago    \n")
        shown = self.run_words("show", "starter").stdout
        self.assertRegex(shown, r"  Model\n    architecture +llama +\n")
        self.assertRegex(shown, r"temperature +0 +\n")
        self.assertIn("FROM ", self.run_words("show", "--modelfile", "starter").stdout)

    def test_a_question_is_answered_and_ps_shows_the_model_until_stop(self):
        result = self.run_words("run", "--verbose", "starter", "What is the capital of France?")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertGreater(len(result.stdout.strip()), 0)
        self.assertTrue(result.stdout.endswith("\n\n"))
        self.assertRegex(result.stderr, r"eval count: +\d+ token\(s\)\n")
        self.assertRegex(self.run_words("ps").stdout, r"\nstarter:latest +[0-9a-f]{12} +\d")
        self.check(self.run_words("stop", "starter"), "")
        deadline = time.monotonic() + DEADLINE_S
        while "starter" in self.run_words("ps").stdout:
            self.assertLess(time.monotonic(), deadline, "it is still loaded")

    def test_copy_and_remove(self):
        self.check(self.run_words("cp", "starter", "twin"), "copied 'starter' to 'twin'\n")
        self.assertIn("twin:latest", self.run_words("list").stdout)
        self.check(self.run_words("rm", "twin"), "deleted 'twin'\n")
        self.check(self.run_words("rm", "twin"), "", "Error: model 'twin' not found\n", 1)

    def test_format_json_gives_json(self):
        result = self.run_words("run", "--format", "json", "starter", "Give a JSON object with one key.")
        self.assertTrue(result.stdout.lstrip().startswith("{"), result)

    def test_version_names_the_server(self):
        self.assertRegex(self.run_words("--version").stdout, r"(?m)^ollama version is \d+\.\d+")

    def test_the_prompt_talks(self):
        terminal = self.terminal("run", "starter")
        terminal.expect("Send a message")
        terminal.send("Say hello.\r")
        terminal.expect("\r\n\r\n")
        terminal.expect("Send a message")
        terminal.send("/set parameter num_predict 4000\r")
        terminal.expect("Set parameter 'num_predict' to '4000'")
        terminal.expect("Send a message")
        terminal.send("Count from one to one thousand in words.\r")
        terminal.expect("\r\n")
        terminal.expect(" ")
        terminal.interrupt()
        terminal.expect("Send a message")
        terminal.send("/bye\r")
        self.assertEqual(terminal.wait(), 0)


def main():
    global ARGUMENTS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="path of corral")
    parser.add_argument("--toy", action="store_true", help="against the toy server")
    parser.add_argument("--model", help="path of a GGUF: against a real server")
    parser.add_argument("--starter", action="store_true", help="as --model, with the starter model")
    parser.add_argument("only", nargs="*", help="names of tests")
    ARGUMENTS = parser.parse_intermixed_args()
    ARGUMENTS.program = os.path.abspath(ARGUMENTS.program)
    if ARGUMENTS.starter:
        fetch = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../scripts/fetch-model")
        ARGUMENTS.model = subprocess.run([fetch], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    if ARGUMENTS.toy == bool(ARGUMENTS.model):
        parser.error("one of --toy, --model and --starter")
    case = ToyTest if ARGUMENTS.toy else RealTest
    names = ARGUMENTS.only or unittest.TestLoader().getTestCaseNames(case)
    result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(case(name) for name in names))
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
