#!/usr/bin/env python3
"""A guide that was written for Ollama in Docker, followed to the letter with our image under Ollama's name.

The guide is not part of this project: $CORRAL_GUIDE names its file, else it is looked for in a folder `guide` of a folder beside
this checkout; without it these tests are skipped (pages_test.py runs the same scenarios from our own pages). Blocks are
named by their heading and number. What is edited is what this machine forces: processors and memory beyond what it has,
and the shell in which a `*` is expanded; compose puts the project before a volume's name, so the backup names the volume it
means. What is not run says why.
"""
import json
import os
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import blocks  # noqa: E402
import lab  # noqa: E402
from place import MODEL, PROJECT, ask, curl, in_place, inspect, logs, wait_answer, wait_healthy  # noqa: E402

APP = lab.ROOT / "tests/docker/app"
NOT_RUN = {
    "Prerequisites (1)": "installs packages for a GPU on the host",
    "Verify GPU Access (1)": "nvidia-smi needs a GPU; ollama list is run",
}


def find_guide():
    named = os.environ.get("CORRAL_GUIDE")
    places = [pathlib.Path(named)] if named else sorted(lab.ROOT.parent.glob("*/guide/*docker*.md"))
    return next((place for place in places if place.is_file()), None)


def has_fake_gpu():
    return pathlib.Path("/run/docker-lab/fake-gpu").exists()


def digests(volume):
    """Of all files of a volume's models, by name."""
    listing = lab.docker("run", "--rm", "-v", f"{volume}:/data", "alpine", "sh", "-c", "cd /data/models && find . -type f | sort | xargs sha256sum")
    return dict(reversed(line.split("  ")) for line in listing.splitlines())


def records(text):
    """The JSON values in what a block of curl calls printed; the end of one and the begin of the next may share a line."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while (at := text.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(text, at)
            found.append(value)
        except ValueError:
            at += 1
    return found


def build_app(tag):
    """The small application that the compose files expect to find."""
    lab.docker_build(tag, APP)


def check_app(test):
    """It answers at its port, the second time from Redis."""
    lab.wait_for(lambda: curl("/", port=8080, check=False).startswith("ready"), "the app to answer", 30)
    first = json.loads(curl("/ask?q=What+is+Docker", port=8080))
    again = json.loads(curl("/ask?q=What+is+Docker", port=8080))
    test.assertTrue(first["answer"])
    test.assertEqual((False, True), (first["cached"], again["cached"]))
    test.assertEqual(first["answer"], again["answer"])


class Guide(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        path = find_guide()
        if path is None:
            raise unittest.SkipTest("no guide is here (CORRAL_GUIDE)")
        cls.blocks = {block.name: block for block in blocks.read(path.read_text())}
        cls.done = dict(NOT_RUN)

    @classmethod
    def tearDownClass(cls):
        print("\nblocks of the guide:")
        for name in cls.blocks:
            print(f"  {'not run' if name in NOT_RUN else 'run' if name in cls.done else 'MISSING':<8} {name}"
                  f"{': ' + cls.done[name] if cls.done.get(name) else ''}")

    # ---- blocks

    def text(self, name, edited=""):
        type(self).done[name] = edited
        return self.blocks[name].text

    def file(self, name, block, edit=None, edited=""):
        text = self.text(block, edited)
        self.place.write(name, edit(text) if edit else text)

    def start_basic(self):
        self.file("docker-compose.yml", "Basic docker-compose.yml (1)")
        self.place.compose("up", "-d")
        wait_answer()

    def pull(self, *models):
        for model in models or (MODEL,):
            lab.docker("exec", "ollama", "ollama", "pull", model)

    def answers(self, model=MODEL):
        answer = ask(model)
        self.assertTrue(answer["done"] and answer["response"], answer)

    def fit(self, text):
        """cpus and memory cut to what the machine has."""
        text = re.sub(r'cpus: "\d+"', f'cpus: "{os.cpu_count()}"', text)
        return re.sub(r"memory: \d+G", "memory: 4G", text)

    # ---- scenarios, in the guide's order

    @in_place
    def test_01_basic_run_pull_and_ask(self):
        text = self.text("Basic CPU-Only Setup (1)", "without `docker pull`: no image registry is reachable")
        self.place.sh(re.sub(r"^docker pull .*$", "", text, flags=re.M))
        wait_answer()
        output = self.place.sh(self.text("Pull and Run a Model (1)"), typed=["What is Docker?", "/bye"])
        self.assertIn("success", output)
        self.assertIn('"done":true', output)
        self.assertIn(MODEL, lab.docker("exec", "ollama", "ollama", "list"))

    @in_place
    def test_02_gpu_flags_are_accepted(self):
        if not has_fake_gpu():
            self.skipTest("the daemon has no GPU hook")
        commands = re.findall(r"docker run(?:.|\n)*?ollama/ollama$", self.text("Running Ollama with GPU (1)", "each command on its own; no GPU"), re.M)
        self.assertEqual(3, len(commands))
        for command in commands:
            self.place.sh(command)
            wait_answer()
            lab.docker("exec", "ollama-gpu", "ollama", "list")
            lab.docker("rm", "-f", "-v", "ollama-gpu")

    @in_place
    def test_03_compose_gets_healthy_and_keeps_models(self):
        self.start_basic()
        self.pull()
        wait_healthy("ollama")
        self.place.compose("down")
        self.place.compose("up", "-d")
        wait_answer()
        self.answers()

    @in_place
    def test_04_compose_with_gpus(self):
        if not has_fake_gpu():
            self.skipTest("the daemon has no GPU hook")
        self.file("docker-compose.gpu.yml", "GPU-Enabled docker-compose.yml (1)", edited="no GPU")
        self.place.sh(self.text("GPU-Enabled docker-compose.yml (2)"))
        wait_answer()

    @in_place
    def test_05_named_volume_and_bind_mount(self):
        self.file("docker-compose.yml", "Basic docker-compose.yml (1)")
        version = 'version: "3.8"\n'  # compose 1 wants the same version in every file
        self.file("named.yml", "Using Named Volumes (1)", lambda text: version + text, "as a second compose file")
        self.place.compose("-f", "named.yml", "up", "-d")
        wait_answer()
        self.place.compose("-f", "named.yml", "down", "-v")
        host = pathlib.Path("/data/ollama")
        if host.exists() or os.getuid() != 0:
            self.skipTest("the bind mount's folder on the host is not ours")
        had_data = host.parent.exists()
        self.file("bind.yml", "Using Bind Mounts (1)", lambda text: version + text, "as a second compose file")
        try:
            self.place.compose("-f", "bind.yml", "up", "-d")
            wait_answer()
            self.pull()
            self.assertTrue((host / "models/models/manifests").is_dir())
            self.place.compose("-f", "bind.yml", "down")
        finally:
            lab.run("rm", "-rf", host)
            if not had_data:
                host.parent.rmdir()

    @in_place
    def test_06_a_sidecar_pulls_the_models(self):
        self.place.write("init-models.sh", "echo init-models.sh has run\nollama list\n")
        self.file("docker-compose.yml", "Pre-loading Models (1)")
        self.place.compose("up", "-d", timeout=180)
        loader = self.place.compose("ps", "-q", "model-loader").strip()
        self.assertEqual("0", lab.docker("wait", loader, timeout=180))
        self.assertEqual(2, lab.docker("logs", loader).count('"status":"success"'))
        self.assertIn("init-models.sh has run", logs("ollama"))
        names = {model["name"] for model in json.loads(curl("/api/tags"))["models"]}
        self.assertEqual({"llama3.2:latest", "codellama:latest"}, names)
        self.answers("codellama")

    @in_place
    def test_07_backup_and_restore(self):
        self.start_basic()
        self.pull()
        volume = f"{PROJECT}_ollama_data"
        text = self.text("Model Storage Best Practices (1)", "the glob in the container's shell; the project's volume").replace("ollama_data", volume)
        usage, backup, restore = re.split(r"^# (?:Backup|Restore).*$", text, flags=re.M)
        self.assertRegex(self.place.sh(re.sub(r"du -sh (\S+)", r'sh -c "du -sh \1"', usage)), r"\d+M\s+/root/.ollama/models/blobs")
        before = digests(volume)
        self.place.sh(backup)
        self.place.compose("down", "-v")
        self.assertNotIn(volume, lab.docker("volume", "ls", "-q").split())
        self.place.sh(restore)
        self.assertEqual(before, digests(volume))
        self.place.compose("up", "-d")
        wait_answer()
        self.answers()
        for name, digest in digests(volume).items():
            if "/blobs/sha256-" in name:
                self.assertTrue(name.endswith(digest), name)

    @in_place
    def test_08_environment(self):
        self.file("docker-compose.yml", "Basic docker-compose.yml (1)")
        self.file("environment.yml", "Environment Variables (1)", lambda text: 'version: "3.8"\n' + text, "as a second compose file")
        self.place.compose("-f", "environment.yml", "up", "-d")
        wait_answer()
        self.pull()
        self.answers()
        self.assertIn("level=DEBUG", logs("ollama", 500))
        expires = json.loads(curl("/api/ps"))["models"][0]["expires_at"]
        self.assertNotIn("level=WARN", "\n".join(line for line in logs("ollama", 500).splitlines() if "OLLAMA_" in line), expires)

    @in_place
    def test_09_every_call_of_the_api(self):
        self.start_basic()
        self.pull(MODEL, "codellama")
        output = self.place.sh(self.text("API Endpoints Reference (1)"))
        answers = records(output)
        self.assertEqual([], [answer for answer in answers if "error" in answer])
        self.assertEqual({"llama3.2:latest", "codellama:latest"}, {row["name"] for row in answers[0]["models"]})
        self.assertTrue([answer for answer in answers if answer.get("done") and answer.get("response")], "no whole completion")
        self.assertTrue([answer for answer in answers if answer.get("done") and "message" in answer], "no end of the chat")
        self.assertTrue([answer for answer in answers if answer.get("embedding")], "no vector")
        self.assertIn({"status": "success"}, answers)
        self.assertEqual(["llama3.2:latest"], [model["name"] for model in json.loads(curl("/api/tags"))["models"]])

    @in_place
    def test_10_production(self):
        if not has_fake_gpu():
            self.skipTest("the daemon has no GPU hook")
        self.file("docker-compose.yml", "Configuring for Production (1)", self.fit, "cpus and memory as the machine has; no GPU")
        self.place.compose("up", "-d")
        wait_answer()
        self.pull()
        self.answers()
        self.assertEqual("json-file 100m 3", inspect("ollama", '{{.HostConfig.LogConfig.Type}} {{index .HostConfig.LogConfig.Config "max-size"}} '
                                                               '{{index .HostConfig.LogConfig.Config "max-file"}}'))
        self.assertEqual(str(4 << 30), inspect("ollama", "{{.HostConfig.Memory}}"))

    @in_place
    def test_11_two_instances_behind_nginx(self):
        if not has_fake_gpu():
            self.skipTest("the daemon has no GPU hook")
        self.file("docker-compose.yml", "Load-Balanced Architecture (1)", edited="no GPU")
        self.file("nginx.conf", "Nginx Configuration (1)")
        self.place.compose("up", "-d")
        wait_answer()
        self.assertEqual("healthy", curl("/health").strip())
        lab.docker("exec", "ollama-1", "ollama", "pull", MODEL)
        for name in ("ollama-1", "ollama-2"):  # what one has pulled the other sees at once
            self.assertIn(MODEL, lab.docker("exec", name, "ollama", "list"))
        for _ in range(6):
            self.answers()
        served = [logs(name).count('path=/api/generate') for name in ("ollama-1", "ollama-2")]
        self.assertTrue(all(served), f"requests served by each: {served}")

    @in_place
    def test_12_an_application_with_redis(self):
        if not has_fake_gpu():
            self.skipTest("the daemon has no GPU hook")
        build_app("your-app:latest")
        self.file("docker-compose.yml", "Integration with Application Services (1)", edited="no GPU; an app of the tests")
        self.place.compose("up", "-d")
        lab.wait_for(lambda: lab.run("docker", "exec", "ollama", "corral", "health", check=False).returncode == 0, "the server to answer", 30)
        self.pull()
        check_app(self)

    def test_99_no_block_is_forgotten(self):
        self.assertEqual([], [name for name in self.blocks if name not in self.done])


if __name__ == "__main__":
    lab.run_tests()
