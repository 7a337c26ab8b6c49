"""The work `pull` of bench/run.py: one large blob from Debian's docker-registry on this machine, beside
`curl -o file && sha256sum file` of the same blob."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/system/fixtures"))
import registry as reg  # noqa: E402
from server import Server  # noqa: E402


SIZE = 1 << 30


def seconds(call):
    start = time.monotonic()
    call()
    return time.monotonic() - start


def big_blob(size):
    """Bytes that do not compress, made quickly."""
    block = reg.some_bytes(1 << 20, 7)
    return b"".join(number.to_bytes(8, "little") + block[8:] for number in range(size >> 20))


def measure(options):
    """Figures of corral and curl, a run each in turn."""
    ours, peers = [], []
    with reg.DockerRegistry() as registry, Server() as server, tempfile.TemporaryDirectory(dir=server.folder) as folder:
        blob = big_blob(SIZE)
        digest = reg.digest(blob)
        registry.put_model("library/big", "latest", [(reg.LAYER_TYPE + "model", blob)], b"{}")
        del blob
        name = f"{registry.host}/library/big"
        url = f"http://{registry.host}/v2/library/big/blobs/{digest}"
        target = pathlib.Path(folder) / "blob"

        def pull():
            records = server.stream("/api/pull", {"model": name, "insecure": True}, timeout=600).rest()
            if records[-1].get("status") != "success":
                raise SystemExit(f"the pull failed: {records[-1]}")

        def curl():
            subprocess.run(["curl", "-sf", "-o", str(target), url], check=True)
            output = subprocess.run(["sha256sum", str(target)], check=True, capture_output=True, text=True).stdout
            if output.split()[0] != digest.split(":")[1]:
                raise SystemExit("curl brought other bytes")

        for run in range(-1, options.runs):  # the first one warms up
            os.sync()
            curl_s = seconds(curl)
            target.unlink()
            os.sync()
            pull_s = seconds(pull)
            server.request("DELETE", "/api/delete", body=json.dumps({"model": name}))
            if run >= 0:
                ours.append({"wall_s": pull_s})
                peers.append({"wall_s": curl_s})
    return {"corral": ours, "curl": peers}
