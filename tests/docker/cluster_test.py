#!/usr/bin/env python3
"""Several containers: two instances on one volume behind nginx (a rolling restart, a crash, pulls at once, a start that prunes beside
a pull), and an application with Redis.

nginx's file is the guide's own (guide_test.py) where it is at hand, else that of docs/guide.
"""
import http.client
import json
import pathlib
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import blocks  # noqa: E402
import guide_test  # noqa: E402
import lab  # noqa: E402
from place import MODEL, PROJECT, in_place, inspect, logs, wait_answer  # noqa: E402

INSTANCES = ("ollama-1", "ollama-2")
COMPOSE = """
version: "3.8"
services:
  nginx:
    image: nginx:alpine
    ports: ["11434:80"]
    volumes: ["./nginx.conf:/etc/nginx/nginx.conf:ro"]
    depends_on: [ollama-1, ollama-2]
  ollama-1: &instance
    image: corral:cpu
    container_name: ollama-1
    volumes: ["ollama_shared:/root/.ollama"]
    environment: ["OLLAMA_NUM_PARALLEL=4"]
    restart: unless-stopped
  ollama-2:
    <<: *instance
    container_name: ollama-2
volumes:
  ollama_shared:
"""
APPLICATION = """
version: "3.8"
services:
  corral:
    image: corral:cpu
    environment: ["CORRAL_PULL=llama3.2"]
    healthcheck:
      test: ["CMD", "corral", "health", "--ready"]
      interval: 1s
  redis:
    image: redis:alpine
  app:
    image: corral-test/app
    ports: ["127.0.0.1:8080:8080"]
    environment: ["OLLAMA_BASE_URL=http://corral:11434", "OLLAMA_MODEL=llama3.2"]
    depends_on:
      corral:
        condition: service_healthy
"""


def nginx_conf():
    page = guide_test.find_guide() or next((lab.ROOT / "docs/guide").glob("*nginx*.md"))
    return next(block.text for block in blocks.read(page.read_text()) if "upstream" in block.text and "events" in block.text)


class Load:
    """Clients that ask for short answers, one after the other each, until the end; every outcome is kept."""

    def __init__(self, clients=4):
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.outcomes = []  # (began, ended, error or None)
        self.threads = [threading.Thread(target=self.run, args=(index,), daemon=True) for index in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(120)

    def run(self, index):
        number = 0
        while not self.stop.is_set():
            number += 1
            began = time.monotonic()
            error = self.ask(f"client {index} asks {number}", is_streamed=number % 2 == 0)
            with self.lock:
                self.outcomes.append((began, time.monotonic(), error))

    @staticmethod
    def ask(prompt, is_streamed):
        # One thread an instance: two that compute on all processors of a small machine hold each other up.
        body = {"model": MODEL, "prompt": prompt, "stream": is_streamed, "options": {"num_predict": 4, "num_thread": 1}}
        connection = http.client.HTTPConnection("127.0.0.1", lab.PORT, timeout=120)
        try:
            connection.request("POST", "/api/generate", json.dumps(body))
            response = connection.getresponse()
            body = response.read()
            is_good = response.status == 200 and json.loads(body.splitlines()[-1]).get("done")
            return None if is_good else f"{response.status} {body[-300:]!r}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()

    def count(self):
        with self.lock:
            return len(self.outcomes)

    def failed(self):
        with self.lock:
            return [outcome for outcome in self.outcomes if outcome[2]]


class Cluster(unittest.TestCase):
    def start(self, compose=COMPOSE):
        self.place.write("docker-compose.yml", compose)
        self.place.write("nginx.conf", nginx_conf())
        self.place.compose("up", "-d", timeout=120)
        wait_answer()

    def pull(self, name="ollama-1"):
        lab.docker("exec", name, "ollama", "pull", MODEL)

    def answers(self, name):
        return "Ollama is running" in lab.run("docker", "exec", name, "curl", "-s", "http://127.0.0.1:11434/", check=False).stdout

    def check_blobs(self):
        """Every blob on the volume is whole, and nothing half done is left."""
        for name, digest in guide_test.digests(f"{PROJECT}_ollama_shared").items():
            if name.startswith("./blobs/"):
                self.assertEqual(f"./blobs/sha256-{digest}", name)

    @in_place
    def test_a_rolling_restart_under_load_loses_no_request(self):
        self.start()
        self.pull()
        with Load() as load:
            lab.wait_for(lambda: load.count() >= 8, "requests", 60)
            for name in INSTANCES:
                lab.docker("restart", "-t", "10", name, timeout=60)
                lab.wait_for(lambda: self.answers(name), f"{name} to be back", 30)
                # nginx leaves a server that refused out for ten seconds (fail_timeout); only then may the other one go.
                back = time.monotonic()
                lab.wait_for(lambda: time.monotonic() > back + 12, "nginx to use it again", 20)
            self.assertEqual(["0", "0"], [inspect(name, "{{.State.ExitCode}}") for name in INSTANCES])
        self.assertEqual([], load.failed()[:10], self.place.compose("logs", "--tail", "40", "nginx"))
        print(f"\nrolling restart: {load.count()} requests, none lost", flush=True)
        self.assertTrue(all("path=/api/generate" in logs(name) for name in INSTANCES))

    @in_place
    def test_a_crash_of_one_loses_only_what_it_was_answering(self):
        self.start()
        self.pull()
        with Load() as load:
            lab.wait_for(lambda: load.count() >= 8, "requests", 60)
            killed_at = time.monotonic()
            lab.docker("kill", "--signal", "KILL", "ollama-1")
            dead_at, seen = time.monotonic(), load.count()
            lab.wait_for(lambda: load.count() >= seen + 12, "requests of after the crash", 90)
        for began, ended, error in load.failed():
            self.assertLess(began, dead_at, f"a request of after the crash failed: {error}")
            self.assertGreater(ended, killed_at, f"a request of before the crash failed: {error}")
        self.assertLessEqual(len(load.failed()), len(load.threads))
        print(f"\ncrash: {load.count()} requests, {len(load.failed())} lost, all running on it", flush=True)

    def pull_on_both(self, meanwhile=lambda: None):
        """What `ollama pull` said, by instance."""
        results = {}

        def pull(name):
            results[name] = lab.run("docker", "exec", name, "ollama", "pull", MODEL, check=False)
        threads = [threading.Thread(target=pull, args=(name,)) for name in INSTANCES]
        for thread in threads:
            thread.start()
        meanwhile()
        for thread in threads:
            thread.join(120)
        return results

    @in_place
    def test_both_pull_the_same_model_at_once(self):
        self.start()
        results = self.pull_on_both()
        for name in INSTANCES:
            self.assertEqual(0, results[name].returncode, results[name].stdout)
            self.assertIn(MODEL, lab.docker("exec", name, "ollama", "list"))
        self.check_blobs()

    @in_place
    def test_both_are_told_to_pull_the_same_model_at_their_start(self):
        self.start(COMPOSE.replace('"OLLAMA_NUM_PARALLEL=4"', f'"CORRAL_PULL={MODEL}", "CORRAL_PRELOAD={MODEL}"'))
        for name in INSTANCES:
            lab.wait_for(lambda: lab.run("docker", "exec", name, "corral", "health", "--ready", check=False).returncode == 0, f"{name} to be ready", 90)
            self.assertNotIn("cannot pull", logs(name))
        self.check_blobs()

    @in_place
    def test_a_pull_ends_well_though_the_other_one_is_killed_at_it(self):
        self.start()
        results = self.pull_on_both(meanwhile=lambda: lab.docker("kill", "--signal", "KILL", "ollama-1"))  # somewhere in it, or before
        self.assertEqual(0, results["ollama-2"].returncode, results["ollama-2"].stdout)
        self.check_blobs()
        lab.docker("start", "ollama-1")
        lab.wait_for(lambda: self.answers("ollama-1"), "ollama-1 to be back", 30)
        self.assertIn(MODEL, lab.docker("exec", "ollama-1", "ollama", "list"))

    @in_place
    def test_one_pulls_while_the_other_starts_and_prunes(self):
        self.start()
        for _ in range(3):
            result = []
            thread = threading.Thread(target=lambda: result.append(lab.run("docker", "exec", "ollama-1", "ollama", "pull", MODEL, check=False)))
            thread.start()
            while thread.is_alive():
                lab.docker("restart", "-t", "10", "ollama-2", timeout=60)
            thread.join()
            self.assertEqual(0, result[0].returncode, result[0].stdout)
            self.check_blobs()
            lab.wait_for(lambda: self.answers("ollama-2"), "ollama-2 to be back", 30)
            self.assertIn(MODEL, lab.docker("exec", "ollama-2", "ollama", "list"))
            lab.docker("exec", "ollama-1", "ollama", "rm", MODEL)


class Application(unittest.TestCase):
    @in_place
    def test_an_application_gets_its_answers_and_keeps_them_in_redis(self):
        guide_test.build_app("corral-test/app")
        self.place.write("docker-compose.yml", APPLICATION)
        self.place.compose("up", "-d", timeout=120)
        guide_test.check_app(self)


if __name__ == "__main__":
    lab.run_tests()
