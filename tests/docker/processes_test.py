#!/usr/bin/env python3
"""The image as a container: what it declares, whom it runs as, pid 1, stopping, and what it does at its start."""
import ctypes
import json
import pathlib
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import lab  # noqa: E402
from place import IMAGE, MODEL, ask, curl, health, in_place, inspect, logs, start, wait_answer, wait_healthy, wait_ready  # noqa: E402

NVIDIA = "/usr/local/nvidia/lib:/usr/local/nvidia/lib64"


class Image(unittest.TestCase):
    def test_is_configured_like_ollamas(self):
        config = json.loads(lab.docker("image", "inspect", "--format", "{{json .Config}}", IMAGE))
        self.assertEqual(["/bin/ollama"], config["Entrypoint"])
        self.assertEqual(["serve"], config["Cmd"])
        self.assertEqual({"11434/tcp": {}}, config["ExposedPorts"])
        self.assertEqual({"/root/.ollama": {}}, config["Volumes"])
        self.assertEqual("", config.get("User", ""))
        environment = dict(pair.split("=", 1) for pair in config["Env"])
        self.assertEqual("0.0.0.0", environment["OLLAMA_HOST"])  # without a port: OLLAMA_PORT counts
        self.assertEqual(NVIDIA, environment["LD_LIBRARY_PATH"])
        self.assertEqual("all", environment["NVIDIA_VISIBLE_DEVICES"])
        self.assertEqual("compute,utility", environment["NVIDIA_DRIVER_CAPABILITIES"])
        self.assertEqual(["CMD", "/bin/corral", "health"], config["Healthcheck"]["Test"])
        for label in ("title", "description", "licenses", "version", "revision"):
            self.assertTrue(config["Labels"].get(f"org.opencontainers.image.{label}"), label)

    def test_is_small(self):
        self.assertLessEqual(int(lab.docker("image", "inspect", "--format", "{{.Size}}", IMAGE)), 150 * 1000 * 1000)

    def test_has_both_names_and_curl(self):
        lab.docker("run", "--rm", "--entrypoint", "sh", IMAGE, "-ec", "command -v corral && command -v ollama && command -v curl")

    def test_brings_the_licences(self):
        listing = lab.docker("run", "--rm", "--entrypoint", "ls", IMAGE, "/usr/share/doc/corral")
        self.assertIn("LICENSE", listing.split())
        self.assertIn("THIRD_PARTY_NOTICES.md", listing.split())


class Variants(unittest.TestCase):
    """The compute code for each kind of processor: all load, and those for this machine's answer."""

    def setUp(self):
        listing = lab.docker("run", "--rm", "--entrypoint", "ls", IMAGE, "/usr/lib/corral")
        self.variants = [name for name in listing.split() if name.startswith("libggml-cpu-")]
        if not self.variants:
            self.skipTest("the image under test has its compute code inside of the worker (README)")

    def scores(self):
        """How well each suits this machine, 0 where it cannot run, in the library's own opinion."""
        with tempfile.TemporaryDirectory(prefix="corral-docker-") as folder:
            name = lab.docker("create", IMAGE)
            try:
                lab.docker("cp", f"{name}:/usr/lib/corral", folder)
            finally:
                lab.docker("rm", "-v", name)
            return {name: ctypes.CDLL(f"{folder}/corral/{name}").ggml_backend_score() for name in self.variants}

    @in_place
    def test_every_one_loads_and_answers_where_the_processor_has_what_it_needs(self):
        scores = self.scores()
        self.assertGreater(len(scores), 5)
        usable = [name for name, score in scores.items() if score > 0]
        self.assertIn("libggml-cpu-x64.so", usable)  # the one that runs anywhere
        self.place.texts.append("corral_variants")
        start("-v", "corral_variants:/root/.ollama", "-e", f"CORRAL_PULL={MODEL}")
        wait_ready()
        for name in usable:
            lab.docker("rm", "-f", "corral")
            others = "find /usr/lib/corral -name 'libggml-cpu-*' ! -name " + name + " -delete; exec ollama serve"
            lab.docker("run", "-d", "--name", "corral", "-p", f"127.0.0.1:{lab.PORT}:11434", "-v", "corral_variants:/root/.ollama",
                       "--entrypoint", "sh", IMAGE, "-c", others)
            wait_answer()
            self.assertTrue(ask(options={"num_predict": 2}).get("done"), name)
        print(f"\nvariants that answered: {len(usable)} of {len(scores)}", flush=True)


class Users(unittest.TestCase):
    def check_serves(self, *words):
        start(*words)
        wait_answer()
        lab.docker("exec", "corral", "ollama", "pull", MODEL)
        self.assertTrue(ask()["done"])
        lab.docker("exec", "corral", "corral", "health")

    @in_place
    def test_hardened_root(self):
        self.check_serves("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")

    @in_place
    def test_a_random_user_of_group_0_as_on_openshift(self):
        self.check_serves("--user", "1000700000", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")

    @in_place
    def test_a_user_of_group_0(self):
        self.check_serves("--user", "1234:0")

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


    @in_place
    def test_stops_in_time_while_it_pulls_and_while_a_script_runs_that_does_not_want_to_end(self):
        self.place.write("init-models.sh", "trap '' TERM INT\necho begun\nwhile :; do sleep 1; done\n")
        start("-v", f"{self.place.folder}/init-models.sh:/init-models.sh:ro", "-e", f"CORRAL_PULL={MODEL}",
              "-e", "CORRAL_REGISTRY_MIRROR=http://127.0.0.1:9", "-e", "CORRAL_REGISTRIES=127.0.0.1:9")
        lab.wait_for(lambda: "begun" in logs("corral") and "trying again" in logs("corral"), "both to be under way", 30)
        lab.docker("stop", "-t", "10", "corral", timeout=60)
        self.assertEqual("0", inspect("corral", "{{.State.ExitCode}}"), "killed: 137")

    @in_place
    def test_after_a_kill_it_starts_again_with_its_models(self):
        start("-v", "corral_killed:/root/.ollama", "-e", f"CORRAL_PULL={MODEL}")
        self.place.texts.append("corral_killed")
        wait_ready()
        ask(options={"num_predict": 1})
        for _ in range(2):
            lab.docker("kill", "--signal", "KILL", "corral")
            lab.docker("start", "corral")
            wait_answer()
            self.assertTrue(ask(options={"num_predict": 1})["done"])


class Start(unittest.TestCase):
    @in_place
    def test_healthy_and_the_first_answer(self):
        begin = time.monotonic()
        start()
        wait_answer()
        print(f"\ndocker run to the first answer on /: {time.monotonic() - begin:.2f} s", flush=True)
        wait_healthy("corral")
        self.assertNotIn("/healthz", logs("corral"), "probes would bury what matters")

    @in_place
    def test_a_server_that_does_not_answer_is_unhealthy(self):
        start("--health-interval", "1s", "--health-timeout", "2s", "--health-retries", "2")
        wait_healthy("corral")
        # The server is pid 1's child; pid 1 itself cannot be stopped from within.
        lab.docker("exec", "corral", "sh", "-c", "for comm in $(grep -lx ollama /proc/[0-9]*/comm); do kill -STOP $(echo $comm | cut -d/ -f3); done")
        lab.wait_for(lambda: health("corral") == "unhealthy", "it to be unhealthy", 30)

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
        wait_ready()
        lab.docker("rm", "-f", "corral")
        begin = time.monotonic()
        start("-v", "corral_tokens:/root/.ollama")
        wait_answer()
        ask(options={"num_predict": 1})
        print(f"\ndocker run to the first token, the model on the volume: {time.monotonic() - begin:.2f} s", flush=True)

    @in_place
    def test_the_init_script(self):
        self.place.write("init-models.sh", "ollama pull llama3.2 && echo all models are here\n")
        start("-v", f"{self.place.folder}/init-models.sh:/init-models.sh:ro")
        lab.wait_for(lambda: "all models are here" in logs("corral"), "the script to have run", 60)
        self.assertIn("llama3.2:latest", curl("/api/tags"))

    @in_place
    def test_keep_alive_of_zero_is_for_ever_and_a_request_still_unloads(self):
        start("-e", "OLLAMA_KEEP_ALIVE=0", "-e", f"CORRAL_PULL={MODEL}")
        wait_ready()
        ask(options={"num_predict": 1})
        self.assertGreater(json.loads(curl("/api/ps"))["models"][0]["expires_at"], "2100")
        ask(options={"num_predict": 1}, keep_alive=0)
        lab.wait_for(lambda: json.loads(curl("/api/ps"))["models"] == [], "the model to be unloaded", 20)

    @in_place
    def test_ollama_port_counts_where_the_image_names_none(self):
        lab.docker("run", "-d", "--name", "corral", "-p", f"127.0.0.1:{lab.PORT}:9999", "-e", "OLLAMA_PORT=9999", IMAGE)
        wait_answer()
        lab.docker("exec", "corral", "corral", "health")


if __name__ == "__main__":
    lab.run_tests()
