"""A Docker daemon, the image under test, and a registry with models in it: what the tests of this folder stand on.

    lab.py up      finds or starts a daemon, makes the images, starts the registry
    lab.py down    takes away what `up` made; stops the daemon if `up` started it

Environment, all optional:
    CORRAL_BIN            the built corral, with corral-worker beside it: they go into the image under test
    CORRAL_TEST_IMAGE     an image to test instead (docker/Dockerfile's own: make image)
    CORRAL_DOCKER_LAB     a folder with a script `up` that starts a daemon and provides base images, and one `down`; else
                          a folder docker-lab in a folder beside this checkout
    CORRAL_MODEL_FILE     the starter model; else scripts/fetch-model
"""
import atexit
import hashlib
import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATE = pathlib.Path(tempfile.gettempdir()) / f"corral-docker-tests-{os.getuid()}.json"
PORT = 11434  # the guides' port, on the host
SKIP = 77
ABANDONED_S = 1800  # a run takes less
# The names that compose files and commands use for the image under test.
NAMES = ("corral:cpu", "ollama/ollama:latest")
BASES = ("debian:bookworm-slim", "nginx:alpine", "redis:alpine", "curlimages/curl:latest", "alpine:latest")
MODELS = ("library/llama3.2:latest", "library/codellama:latest", "library/smollm2:135m")
# Answers stay short, whatever a guide asks for.
PARAMS = {"num_predict": 12, "temperature": 0, "num_ctx": 2048}


class Unavailable(Exception):
    """Why these tests cannot run here."""


def run(*command, check=True, timeout=120, **options):
    """The finished process, its output as text; a failure shows the output."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", timeout=timeout, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"exit status {done.returncode}: {' '.join(map(str, command))}\n{done.stdout[-4000:]}")
    return done


def docker(*words, **options):
    return run("docker", *words, **options).stdout.strip()


def wait_for(condition, what, seconds=60, step_s=0.1):
    """Polls until condition() is true and returns its value; fails loudly at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(step_s)


# ---- daemon


def answers():
    try:
        return run("docker", "version", check=False, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def lab_folder():
    named = os.environ.get("CORRAL_DOCKER_LAB")
    places = [pathlib.Path(named)] if named else sorted(ROOT.parent.glob("*/docker-lab"))
    return next((place for place in places if os.access(place / "up", os.X_OK)), None)


def find_daemon():
    """True if it was started here. Raises Unavailable."""
    started = not answers()
    lab = lab_folder()
    if started and lab is None:
        raise Unavailable("no Docker daemon answers, and there is no docker-lab to start one (CORRAL_DOCKER_LAB)")
    if started and os.getuid() != 0:
        raise Unavailable("no Docker daemon answers, and starting one needs root")
    if lab is not None and os.getuid() == 0:
        # Also with a daemon at hand: it makes the base images that are missing.
        done = run(lab / "up", check=False, timeout=900, env={**os.environ, "DOCKER_LAB_FAKE_GPU": "1"})
        if done.returncode != 0 or not answers():
            raise Unavailable(f"{lab}/up did not bring a daemon up:\n{done.stdout[-2000:]}")
    missing = [name for name in BASES if image_id(name) is None]
    if missing:
        raise Unavailable(f"base images are missing: {', '.join(missing)}")
    return started


def has_compose():
    return run("docker", "compose", "version", check=False).returncode == 0


def image_id(name):
    done = run("docker", "image", "inspect", "--format", "{{.Id}}", name, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


# ---- images


def docker_build(tag, context, *words):
    network = pathlib.Path("/run/docker-lab/build-network")
    return run("docker", "build", "--pull=false", "--network", network.read_text().strip() if network.exists() else "default",
               "-t", tag, *words, context, timeout=900, env={**os.environ, "DOCKER_BUILDKIT": "0"})


def runtime_stage():
    """The last stage of docker/Dockerfile: all that makes the image what it is, but how its programs were built."""
    text = (ROOT / "docker/Dockerfile").read_text()
    return text[text.index("FROM debian:bookworm-slim AS runtime"):]


def build_image(folder):
    """The image under test: the programs that make test has just built, in the Dockerfile's own last stage."""
    program = pathlib.Path(os.environ.get("CORRAL_BIN") or ROOT / "build/bin/corral")
    binaries, libraries = folder / "out/usr/bin", folder / "out/usr/lib/corral"
    documents = folder / "out-llama/usr/share/doc/corral"  # llama.cpp is inside of corral-worker here
    for place in (binaries, libraries, documents):
        place.mkdir(parents=True)
    for name in ("LICENSE", "THIRD_PARTY_NOTICES.md"):
        (documents / name).write_bytes((ROOT / name).read_bytes())
    for source, target in ((program, binaries / "corral"), (program.parent / "corral-worker", libraries / "corral-worker")):
        run("strip", "--strip-all", "-o", target, source)
    (binaries / "ollama").symlink_to("corral")
    (folder / "Dockerfile").write_text("FROM scratch AS build\nCOPY out/ /out/\nCOPY out-llama/ /out-llama/\n\n" + runtime_stage())
    docker_build("corral-test/image", folder)
    return "corral-test/image"


def make_images(registry):
    """Tags the image under test, which finds its models at `registry`, with the guides' names. Returns what had them."""
    before = {name: image_id(name) for name in NAMES}
    with tempfile.TemporaryDirectory(prefix="corral-docker-") as name:
        folder = pathlib.Path(name)
        image = os.environ.get("CORRAL_TEST_IMAGE") or build_image(folder / "image")
        (folder / "derived").mkdir()
        (folder / "derived/Dockerfile").write_text(
            f"FROM {image}\nENV CORRAL_REGISTRY_MIRROR={registry}\nLABEL corral.test=1\n")
        docker_build("corral-test/derived", folder / "derived")
    for name in NAMES:
        docker("tag", "corral-test/derived", name)
    return before


# ---- registry


class Registry:
    """Debian's docker-registry with the models in it, where every container reaches it: at the host's side of the bridge."""

    def __init__(self, address):
        self.address = address

    @classmethod
    def start(cls):
        with tempfile.TemporaryDirectory(prefix="corral-docker-") as folder:
            (pathlib.Path(folder) / "Dockerfile").write_text(
                "FROM debian:bookworm-slim\n"
                "RUN apt-get update && apt-get install -y --no-install-recommends docker-registry && rm -rf /var/lib/apt/lists/*\n"
                "RUN echo '{version: 0.1, storage: {filesystem: {rootdirectory: /var/lib/registry}}, http: {addr: \":5000\"}}' >/registry.yml\n"
                'ENTRYPOINT ["docker-registry", "serve", "/registry.yml"]\n')
            docker_build("corral-test/registry", folder)
        host = docker("run", "--rm", "--network", "bridge", "--entrypoint", "sh", "alpine:latest", "-c", "ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'")
        with_port = f"{host}:{free_port(host)}"
        docker("run", "-d", "--name", "corral-test-registry", "--label", "corral.test=1", "--network", "host", "-e", f"REGISTRY_HTTP_ADDR={with_port}",
               "corral-test/registry")
        registry = cls(with_port)
        wait_for(registry.answers, "the registry to answer", 30)
        return registry

    def answers(self):
        try:
            return self.request("GET", "/v2/")[0] == 200
        except OSError:
            return False

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.address, timeout=120)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def upload(self, repository, data):
        """A blob; returns its digest."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if self.request("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
            return digest
        status, headers, body = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202, (status, body)
        place = re.sub(r"^https?://[^/]*", "", headers["Location"])
        place += ("&" if "?" in place else "?") + f"digest={digest}"
        status, _, body = self.request("PUT", place, data, {"Content-Type": "application/octet-stream"})
        assert status == 201, (status, body)
        return digest

    def push(self, name, gguf):
        repository, tag = name.split(":")
        layers = [{"mediaType": f"application/vnd.ollama.image.{kind}", "digest": self.upload(repository, data), "size": len(data)}
                  for kind, data in (("model", gguf), ("params", json.dumps(PARAMS).encode()))]
        config = json.dumps({"model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "model_type": "134.52M",
                             "file_type": "Q4_1", "architecture": "amd64", "os": "linux",
                             "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}}).encode()
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = {"schemaVersion": 2, "mediaType": kind, "layers": layers,
                    "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": self.upload(repository, config),
                               "size": len(config)}}
        status, _, body = self.request("PUT", f"/v2/{repository}/manifests/{tag}", json.dumps(manifest), {"Content-Type": kind})
        assert status == 201, (status, body)


def free_port(host):
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def starter_model():
    return pathlib.Path(os.environ.get("CORRAL_MODEL_FILE") or run(ROOT / "scripts/fetch-model", timeout=900).stdout.split("\n")[-2])


# ---- up and down


def up():
    if STATE.exists():  # of a run that was killed, or of one that still goes on in another checkout
        other = json.loads(STATE.read_text())
        if other["root"] != str(ROOT) and time.time() - STATE.stat().st_mtime < ABANDONED_S:
            raise Unavailable(f"the tests of {other['root']} use the daemon; when they have ended: {pathlib.Path(__file__).name} down there")
        down()
    state = {"root": str(ROOT), "daemon": find_daemon(), "images": {}}
    STATE.write_text(json.dumps(state))
    if not has_compose():
        raise Unavailable("there is no docker compose")
    taken = [name for name in docker("ps", "-a", "--format", "{{.Names}}").split() if re.match(r"(ollama|corral)", name)]
    if taken:
        raise Unavailable(f"containers of the guides' names exist: {', '.join(taken)}")
    registry = Registry.start()
    gguf = starter_model().read_bytes()
    for name in MODELS:
        registry.push(name, gguf)
    state.update(registry=registry.address, images=make_images(f"http://{registry.address}"))
    STATE.write_text(json.dumps(state))


def down():
    try:
        state = json.loads(STATE.read_text())
    except (OSError, ValueError):
        return
    STATE.unlink()
    if answers():
        remove_containers()
        for name, before in state["images"].items():
            if before:
                docker("tag", before, name, check=False)
            else:
                docker("rmi", name, check=False)
    if state["daemon"]:
        run(lab_folder() / "down", check=False, timeout=120)


def remove_containers(keep=()):
    """All that run the image under test, with their anonymous volumes."""
    names = docker("ps", "-a", "--filter", "label=corral.test=1", "--format", "{{.Names}}").split()
    left = [name for name in names if name not in keep]
    if left:
        docker("rm", "-f", "-v", *left, check=False)


def is_ours():
    """False if the state is another checkout's."""
    return not STATE.exists() or json.loads(STATE.read_text())["root"] == str(ROOT)


def state():
    """What `up` left behind. Raises Unavailable with its reason."""
    if not STATE.exists():  # not started by ctest
        atexit.register(down)
        up()
    found = json.loads(STATE.read_text())
    if not is_ours():
        raise Unavailable(f"the tests of {found['root']} use the daemon")
    if "unavailable" in found:
        raise Unavailable(found["unavailable"])
    return found


def run_tests():
    """The main of a file of tests: skipped as a whole where there is no daemon to be had."""
    try:
        state()
    except Unavailable as reason:
        print(f"skipped: {reason}")
        sys.exit(SKIP)
    unittest.main("__main__", verbosity=2)


def main():
    if sys.argv[1:] == ["down"]:
        if is_ours():
            down()
        return
    try:
        up()
    except Unavailable as reason:
        print(f"skipped: {reason}")
        if is_ours():
            down()
            STATE.write_text(json.dumps({"root": str(ROOT), "unavailable": str(reason), "daemon": False, "images": {}}))
        sys.exit(SKIP)


if __name__ == "__main__":
    main()
