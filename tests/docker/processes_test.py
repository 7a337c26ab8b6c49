#!/usr/bin/env python3
"""The image as a container: what it declares, whom it runs as, pid 1, stopping, and what it says when it cannot start."""
import contextlib
import json
import os
import pathlib
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import lab  # noqa: E402
from place import curl, in_place, inspect, logs, wait_answer, wait_healthy  # noqa: E402

IMAGE = "corral:cpu"
MODEL = "llama3.2"


def start(*words, name="corral", image=IMAGE):
    lab.docker("run", "-d", "--name", name, "-p", f"127.0.0.1:{lab.PORT}:11434", *words, image)


def status(name="corral"):
    return inspect(name, "{{.State.Status}}")


def last_words(*words, name="corral"):
    """The end of the log of a container that cannot start, and its exit status."""
    lab.docker("run", "-d", "--name", name, *words, IMAGE)
    code = int(lab.docker("wait", name, timeout=30))
    return code, "\n".join(logs(name, 4).splitlines())


class Image(unittest.TestCase):
    def test_is_configured_like_ollamas(self):
        config = json.loads(lab.docker("image", "inspect", "--format", "{{json .Config}}", IMAGE))
        self.assertEqual(["/bin/ollama"], config["Entrypoint"])
        self.assertEqual(["serve"], config["Cmd"])
        self.assertEqual({"11434/tcp": {}}, config["ExposedPorts"])
        self.assertEqual({"/root/.ollama": {}}, config["Volumes"])
        self.assertEqual("", config.get("User", ""))
        environment = dict(pair.split("=", 1) for pair in config["Env"])
        self.assertEqual("0.0.0.0", environment["OLLAMA_HOST"])
        self.assertEqual("all", environment["NVIDIA_VISIBLE_DEVICES"])
        self.assertEqual("compute,utility", environment["NVIDIA_DRIVER_CAPABILITIES"])
        self.assertEqual(["CMD", "/bin/corral", "health"], config["Healthcheck"]["Test"])
        for label in ("title", "description", "licenses", "version", "revision"):
            self.assertTrue(config["Labels"].get(f"org.opencontainers.image.{label}"), label)

    def test_is_small(self):
        self.assertLessEqual(int(lab.docker("image", "inspect", "--format", "{{.Size}}", IMAGE)), 150 * 1000 * 1000)

    def test_has_both_names_and_curl(self):
        lab.docker("run", "--rm", "--entrypoint", "sh", IMAGE, "-ec", "command -v corral && command -v ollama && command -v curl")


class Users(unittest.TestCase):
    def check_serves(self, *words):
        start(*words)
        wait_answer()
        lab.docker("exec", "corral", "ollama", "pull", MODEL)
        answer = json.loads(curl("/api/generate", "-d", json.dumps({"model": MODEL, "prompt": "Hi", "stream": False})))
        self.assertTrue(answer["done"])
        lab.docker("exec", "corral", "corral", "health")

    @in_place
    def test_hardened_root(self):
        self.check_serves("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")

    @in_place
    def test_a_random_user_of_group_0_as_on_openshift(self):
        self.check_serves("--user", "1000700000", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")

    @in_place
    def test_any_user_and_group(self):
        self.check_serves("--user", "1234:1234")


class PidOne(unittest.TestCase):
    @in_place
    def test_orphans_are_reaped(self):
        start()
        wait_answer()
        lab.docker("exec", "corral", "sh", "-c", "sh -c 'sleep 0.2 & exit 0' & exit 0")

        def states():
            return lab.docker("exec", "corral", "sh", "-c", "cat /proc/[0-9]*/stat").splitlines()
        lab.wait_for(lambda: not any("(sleep)" in line for line in states()), "the orphan to be gone, not a zombie", 20)
        self.assertFalse([line for line in states() if ") Z " in line])

    @in_place
    def test_an_idle_server_stops_at_once_and_cleanly(self):
        start()
        wait_answer()
        begin = time.monotonic()
        lab.docker("stop", "-t", "10", "corral")
        self.assertEqual("0", inspect("corral", "{{.State.ExitCode}}"))
        self.assertLess(time.monotonic() - begin, 8)

    @in_place
    def test_stops_within_dockers_ten_seconds_with_streams_running(self):
        start("-e", "OLLAMA_NUM_PARALLEL=4")
        wait_answer()
        lab.docker("exec", "corral", "ollama", "pull", MODEL)
        body = {"model": MODEL, "prompt": "Count.", "raw": True, "options": {"num_predict": -1, "num_ctx": 8192, "stop": [], "temperature": 1.5}}
        ends, running = [], threading.Barrier(5)

        def ask():
            connection = lab.http.client.HTTPConnection("127.0.0.1", lab.PORT, timeout=60)
            connection.request("POST", "/api/generate", json.dumps(body))
            response = connection.getresponse()
            lines = [response.readline()]
            running.wait(60)
            while line := response.readline():
                lines.append(line)
            connection.close()
            ends.append(json.loads(lines[-1]))
        threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        running.wait(60)
        lab.docker("stop", "-t", "10", "corral", timeout=60)
        for thread in threads:
            thread.join(30)
        self.assertEqual("0", inspect("corral", "{{.State.ExitCode}}"), "killed: 137")
        self.assertEqual(4, len(ends))
        for end in ends:  # cut off by the end of the grace, and told so; or it had come to its own end
            self.assertTrue("error" in end or end.get("done"), end)

    @in_place
    def test_a_signal_of_docker_kill_reaches_the_server(self):
        start()
        wait_answer()
        lab.docker("kill", "--signal", "INT", "corral")
        self.assertEqual("0", lab.docker("wait", "corral", timeout=30))


class Start(unittest.TestCase):
    @in_place
    def test_healthy_and_the_first_answer(self):
        begin = time.monotonic()
        start()
        wait_answer()
        print(f"\ndocker run to the first answer on /: {time.monotonic() - begin:.2f} s", flush=True)
        wait_healthy("corral")

    @in_place
    def test_models_are_pulled_and_loaded_before_it_is_ready(self):
        start("-e", f"CORRAL_PULL={MODEL}, codellama", "-e", f"CORRAL_PRELOAD={MODEL}")
        wait_answer()
        lab.wait_for(lambda: lab.run("docker", "exec", "corral", "corral", "health", "--ready", check=False).returncode == 0, "it to be ready", 60)
        self.assertEqual({f"{MODEL}:latest", "codellama:latest"}, {row["name"] for row in json.loads(curl("/api/tags"))["models"]})
        self.assertEqual([f"{MODEL}:latest"], [row["name"] for row in json.loads(curl("/api/ps"))["models"]])

    @in_place
    def test_the_first_token_with_the_model_on_the_volume(self):
        start("-v", "corral_tokens:/root/.ollama", "-e", f"CORRAL_PULL={MODEL}")
        self.place.texts.append("corral_tokens")
        lab.wait_for(lambda: curl("/readyz", check=False).startswith('{"status":"ready"'), "the model to be there", 60)
        lab.docker("rm", "-f", "corral")
        begin = time.monotonic()
        start("-v", "corral_tokens:/root/.ollama")
        wait_answer()
        curl("/api/generate", "-d", json.dumps({"model": MODEL, "prompt": "Hi", "stream": False, "options": {"num_predict": 1}}))
        print(f"\ndocker run to the first token, the model on the volume: {time.monotonic() - begin:.2f} s", flush=True)

    @in_place
    def test_a_registry_that_is_away_is_waited_for_in_words(self):
        start("-e", "CORRAL_PULL=llama3.2", "-e", "CORRAL_REGISTRY_MIRROR=http://127.0.0.1:9", "-e", "CORRAL_REGISTRIES=127.0.0.1:9")
        wait_answer()
        lab.wait_for(lambda: "trying again" in logs("corral", 5), "the log to say so", 60)
        self.assertEqual("running", status())
        self.assertIn('{"error":"not ready: pull llama3.2: ', curl("/readyz", check=False))
        lab.docker("exec", "corral", "corral", "health")

    @in_place
    def test_the_init_script(self):
        self.place.write("init-models.sh", "ollama pull llama3.2 && echo all models are here\n")
        start("-v", f"{self.place.folder}/init-models.sh:/init-models.sh:ro")
        lab.wait_for(lambda: "all models are here" in logs("corral"), "the script to have run", 60)
        self.assertIn("llama3.2:latest", curl("/api/tags"))

    @in_place
    def test_a_folder_in_place_of_the_init_script_is_a_warning(self):
        start("-v", f"{self.place.folder}/init-models.sh:/init-models.sh:ro")
        wait_answer()
        lab.wait_for(lambda: "is a folder: Docker makes one" in logs("corral", 3), "the warning", 20)
        self.assertEqual("running", status())

    @in_place
    def test_ollama_port_counts_where_the_image_names_none(self):
        lab.docker("run", "-d", "--name", "corral", "-p", f"127.0.0.1:{lab.PORT}:9999", "-e", "OLLAMA_PORT=9999", IMAGE)
        wait_answer()


class Faults(unittest.TestCase):
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
            lab.wait_for(lambda: curl("/readyz", check=False).startswith('{"status":"ready"'), "the model to be there", 60)
            lab.docker("rm", "-f", "corral")
            start("-v", f"{folder}:/root/.ollama:ro")
            wait_answer()
            self.assertIn("cannot be written", logs("corral"))
            self.assertTrue(json.loads(curl("/api/generate", "-d", json.dumps({"model": MODEL, "prompt": "Hi", "stream": False})))["done"])
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
    def test_a_disk_that_gets_full_during_a_pull(self):
        with self.folder(0o777) as folder:
            lab.run("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", folder)
            try:
                start("-v", f"{folder}:/root/.ollama", "-e", f"CORRAL_PULL={MODEL}")
                wait_answer()
                lab.wait_for(lambda: "space" in logs("corral", 4), "the log to say so", 60)
                self.assertEqual("running", status())
                lab.docker("rm", "-f", "corral")
            finally:
                lab.run("umount", folder)

    @in_place
    def test_a_port_in_use(self):
        lab.docker("run", "-d", "--name", "corral", "--network", "host", "-e", "OLLAMA_HOST=127.0.0.1:11434", IMAGE)
        wait_answer()
        code, words = last_words("--network", "host", "-e", "OLLAMA_HOST=127.0.0.1:11434", name="corral-second")
        self.assertEqual(1, code)
        self.assertIn("Error: listen tcp 127.0.0.1:11434: bind: address already in use", words)
        self.assertIn("set OLLAMA_HOST (or OLLAMA_PORT) to a free one", words)

    @in_place
    def test_wrong_variables(self):
        start("-e", "OLLAMA_NUM_PARALEL=4", "-e", "OLLAMA_KEEP_ALIVE=1d", "-e", "CORRAL_PRELOAD=a b")
        wait_answer()
        log = logs("corral")
        self.assertIn("OLLAMA_NUM_PARALLEL", log)  # the name that was meant
        self.assertIn("OLLAMA_KEEP_ALIVE", log)
        self.assertIn("not a name of a model", log)


if __name__ == "__main__":
    lab.run_tests()
