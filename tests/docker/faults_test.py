#!/usr/bin/env python3
"""What is wrong around a container: its volume, its disk, its port, its variables, its registry, its script; a kill. The last lines of
its log say what it is and what to do; it ends, or stays, as an operator expects."""
import contextlib
import os
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import lab  # noqa: E402
from place import IMAGE, MODEL, ask, curl, in_place, inspect, last_words, logs, start, status, wait_answer, wait_ready  # noqa: E402

REGISTRY = "corral-test-registry"


class Volumes(unittest.TestCase):
    @contextlib.contextmanager
    def folder(self, mode, owner=0):
        with tempfile.TemporaryDirectory(prefix="corral-docker-") as name:
            os.chown(name, owner, owner)
            os.chmod(name, mode)
            yield name

    @staticmethod
    def fill(folder):
        with contextlib.suppress(OSError), open(f"{folder}/filler", "wb", buffering=0) as file:
            while True:
                file.write(b"0" * 4096)
        with contextlib.suppress(OSError):
            for number in range(1000):
                open(f"{folder}/{number}", "xb").close()

    def setUp(self):
        if os.getuid() != 0:
            self.skipTest("making folders of other users needs root")

    @in_place
    def test_a_volume_of_another_user(self):
        with self.folder(0o755, owner=4321) as folder:
            code, words = last_words("--user", "1000:1000", "-v", f"{folder}:/root/.ollama")
        self.assertEqual(1, code)
        for part in ("Error: cannot open the model store", "/root/.ollama/models", "user 1000:1000", "chown -R 1000:1000", "--user"):
            self.assertIn(part, words)

    @in_place
    def test_a_restart_policy_repeats_the_reason_and_nothing_else(self):
        with self.folder(0o700, owner=4321) as folder:
            start("--restart", "unless-stopped", "--user", "1000:0", "-v", f"{folder}:/root/.ollama")
            lab.wait_for(lambda: int(inspect("corral", "{{.RestartCount}}")) >= 2, "it to be started again", 30)
            lab.docker("stop", "corral")
            lines = logs("corral").splitlines()
        self.assertEqual(2, len(set(lines)), lines)
        self.assertRegex(lines[-2], "^Error: cannot open the model store")
        self.assertIn("this server is user 1000:0", lines[-1])

    @in_place
    def test_root_without_capabilities_on_a_volume_of_another_user(self):
        with self.folder(0o755, owner=4321) as folder:
            code, words = last_words("--cap-drop", "ALL", "-v", f"{folder}:/root/.ollama")
        self.assertEqual(1, code)
        self.assertIn("chown -R 0:0", words)

    @in_place
    def test_an_empty_read_only_volume(self):
        with self.folder(0o777) as folder:
            code, words = last_words("-v", f"{folder}:/root/.ollama:ro")
        self.assertEqual(1, code)
        self.assertIn("read-only", words)
        self.assertIn("mount it writable", words)

    @in_place
    def test_a_filled_read_only_volume_serves(self):
        with self.folder(0o777) as folder:
            start("-v", f"{folder}:/root/.ollama", "-e", f"CORRAL_PULL={MODEL}")
            wait_ready()
            lab.docker("rm", "-f", "corral")
            start("-v", f"{folder}:/root/.ollama:ro")
            wait_answer()
            self.assertIn("cannot be written", logs("corral"))
            self.assertTrue(ask()["done"])
            refused = lab.run("docker", "exec", "corral", "ollama", "pull", "codellama", check=False)
            self.assertNotEqual(0, refused.returncode)
            self.assertRegex(refused.stdout, "read-only|cannot be written")
            lab.docker("rm", "-f", "corral")

    @in_place
    def test_a_full_disk(self):
        with self.folder(0o777) as folder:
            lab.run("mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=40", "tmpfs", folder)
            try:
                self.fill(folder)
                code, words = last_words("-v", f"{folder}:/root/.ollama")
                self.assertEqual(1, code)
                self.assertIn("No space left on device", words)
                self.assertIn("make room on it", words)
                lab.docker("rm", "-f", "corral")
            finally:
                lab.run("umount", folder)

    @in_place
    def test_a_full_volume_still_serves_what_is_on_it(self):
        with self.folder(0o777) as folder:
            lab.run("mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", folder)
            try:
                start("-v", f"{folder}:/root/.ollama", "-e", f"CORRAL_PULL={MODEL}")
                wait_ready()
                lab.docker("rm", "-f", "corral")
                self.fill(folder)
                start("-v", f"{folder}:/root/.ollama")
                wait_answer()
                self.assertTrue(ask()["done"])
                refused = lab.run("docker", "exec", "corral", "ollama", "cp", MODEL, "copy", check=False)
                self.assertNotEqual(0, refused.returncode)
                self.assertIn("no space left", refused.stdout.lower())
                lab.docker("rm", "-f", "corral")
            finally:
                lab.run("umount", folder)

    @in_place
    def test_a_models_folder_that_is_a_file(self):
        code, words = last_words("-e", "OLLAMA_MODELS=/etc/hostname")
        self.assertEqual(1, code)
        self.assertIn("/etc/hostname is not a folder: set OLLAMA_MODELS", words)

    @in_place
    def test_a_disk_that_gets_full_during_a_pull(self):
        with self.folder(0o777) as folder:
            lab.run("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", folder)
            try:
                start("-v", f"{folder}:/root/.ollama", "-e", f"CORRAL_PULL={MODEL}")
                wait_answer()
                lab.wait_for(lambda: "no space left" in logs("corral", 4).lower(), "the log to say so", 60)
                self.assertEqual("running", status())
                lab.docker("rm", "-f", "corral")
            finally:
                lab.run("umount", folder)


class Addresses(unittest.TestCase):
    @in_place
    def test_a_port_in_use(self):
        lab.docker("run", "-d", "--name", "corral", "--network", "host", "-e", "OLLAMA_HOST=127.0.0.1:11434", IMAGE)
        wait_answer()
        code, words = last_words("--network", "host", "-e", "OLLAMA_HOST=127.0.0.1:11434", name="corral-second")
        self.assertEqual(1, code)
        self.assertIn("Error: listen tcp 127.0.0.1:11434: bind: address already in use", words)
        self.assertIn("set OLLAMA_HOST (or OLLAMA_PORT) to a free one", words)

    @in_place
    def test_an_address_that_is_not_the_containers(self):
        for host, error in (("192.0.2.1", "listen tcp 192.0.2.1:11434: bind: cannot assign requested address"),
                            ("no-such-host.invalid", "listen tcp: lookup no-such-host.invalid: no such host")):
            code, words = last_words("-e", f"OLLAMA_HOST={host}")
            self.assertEqual(1, code)
            self.assertIn(f"Error: {error}\n{host} is no address of this machine: set OLLAMA_HOST", words)
            lab.docker("rm", "corral")

    @in_place
    def test_a_port_that_the_user_may_not_have(self):
        code, words = last_words("--user", "1000:0", "--sysctl", "net.ipv4.ip_unprivileged_port_start=1024", "-e", "OLLAMA_PORT=80")
        self.assertEqual(1, code)
        self.assertIn("bind: permission denied\nUser 1000:0 may not listen on port 80", words)


class Variables(unittest.TestCase):
    @in_place
    def test_wrong_variables(self):
        start("-e", "OLLAMA_NUM_PARALEL=4", "-e", "OLLAMA_KEEP_ALIVE=1d", "-e", "CORRAL_PRELOAD=a b")
        wait_answer()
        log = logs("corral")
        self.assertIn("OLLAMA_NUM_PARALLEL", log)  # the name that was meant
        self.assertIn("OLLAMA_KEEP_ALIVE", log)
        self.assertIn("not a name of a model", log)

    @in_place
    def test_values_that_cannot_be_read_leave_the_defaults(self):
        start("-e", "OLLAMA_PORT=abc", "-e", "OLLAMA_MAX_LOADED_MODELS=two", "-e", "CORRAL_WORKER=/no/worker")
        wait_answer()
        log = logs("corral")
        for part in ('OLLAMA_PORT=\\"abc\\"', 'OLLAMA_MAX_LOADED_MODELS=\\"two\\"', "set CORRAL_WORKER to its path"):
            self.assertIn(part, log)


class Registries(unittest.TestCase):
    @in_place
    def test_one_that_is_away_at_the_start_is_waited_for(self):
        lab.docker("stop", REGISTRY)
        try:
            start("-e", f"CORRAL_PULL={MODEL}", "-e", f"CORRAL_PRELOAD={MODEL}")
            wait_answer()
            lab.wait_for(lambda: f"cannot load {MODEL} at start; trying again" in logs("corral", 6), "the log to say so", 60)
            self.assertIn(f"cannot pull {MODEL} at start; trying again", logs("corral", 6))
            self.assertEqual("running", status())
            self.assertIn(f"not ready: load {MODEL}: the model is not there: pull or create it; pull {MODEL}: ", curl("/readyz", check=False))
            lab.docker("exec", "corral", "corral", "health")
            self.assertNotEqual(0, lab.run("docker", "exec", "corral", "corral", "health", "--ready", check=False).returncode)
        finally:
            lab.docker("start", REGISTRY)
        wait_ready(90)
        self.assertTrue(ask()["done"])

    @in_place
    def test_a_model_that_none_has_is_said_and_the_others_come(self):
        start("-e", f"CORRAL_PULL=nosuch,{MODEL}", "-e", f"CORRAL_REGISTRIES={lab.state()['registry']}")
        wait_answer()
        lab.wait_for(lambda: f"done at start: pull {MODEL}" in logs("corral", 8), "the other one", 60)
        self.assertRegex(logs("corral", 8), "cannot pull nosuch at start.*is the name in CORRAL_PULL right.*file does not exist")
        self.assertEqual("running", status())
        self.assertTrue(ask()["done"])


class Kills(unittest.TestCase):
    @in_place
    def test_a_server_that_is_killed_has_a_last_word_by_pid_1(self):
        start()
        wait_answer()
        lab.docker("exec", "corral", "sh", "-c", "for comm in $(grep -lx ollama /proc/[0-9]*/comm); do pid=$(echo $comm | cut -d/ -f3); "
                                                 "[ $pid = 1 ] || kill -KILL $pid; done", check=False)
        self.assertEqual("137", lab.docker("wait", "corral", timeout=30))
        self.assertIn("Error: the server was ended by signal 9 (Killed)\nIf nobody did that, memory ran out", logs("corral", 2))


class InitScripts(unittest.TestCase):
    def run_with(self, *words):
        """The end of the log once the script's fate is known."""
        start("-v", f"{self.place.folder}/init-models.sh:/init-models.sh:ro", *words)
        wait_answer()
        lab.wait_for(lambda: "init script: " in logs("corral", 3), "a word about the script", 20)
        self.assertEqual("running", status())
        return logs("corral", 3)

    @in_place
    def test_a_folder_in_its_place_is_a_warning(self):
        self.assertIn("init-models.sh is a folder: Docker makes one", self.run_with())

    @in_place
    def test_one_that_fails_is_a_warning_after_its_own_words(self):
        self.place.write("init-models.sh", "echo it does not work\nexit 3\n")
        words = self.run_with()
        self.assertIn('msg="it does not work" script=init-models.sh', words)
        self.assertIn("init-models.sh ended with exit status 3", words)

    @in_place
    def test_one_that_the_user_cannot_read_is_a_warning(self):
        self.place.write("init-models.sh", "echo hello\n")
        (self.place.folder / "init-models.sh").chmod(0o600)
        self.assertIn("cannot be read: make it readable", self.run_with("--user", "1234:0"))


if __name__ == "__main__":
    lab.run_tests()
