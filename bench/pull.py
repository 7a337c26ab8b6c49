"""The pull of one large blob from a registry on this machine, beside `curl -o file && sha256sum file` of the same blob."""
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/system/fixtures"))
import registry as reg  # noqa: E402
from server import Server  # noqa: E402


def seconds(call):
    start = time.monotonic()
    call()
    return time.monotonic() - start


def big_blob(size):
    """Bytes that do not compress, made quickly."""
    block = reg.some_bytes(1 << 20, 7)
    return b"".join(number.to_bytes(8, "little") + block[8:] for number in range(size >> 20))


def measure(size, runs):
    """{"pull_s", "curl_s", "ratio"}, each a list with a value a run; the runs take turns."""
    with reg.DockerRegistry() as registry, Server() as server, tempfile.TemporaryDirectory(dir=server.folder) as folder:
        blob = big_blob(size)
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

        result = {"size_bytes": size, "pull_s": [], "curl_s": [], "ratio": []}
        for run in range(-1, runs):  # the first one warms up
            os.sync()
            curl_s = seconds(curl)
            target.unlink()
            os.sync()
            pull_s = seconds(pull)
            server.request("DELETE", "/api/delete", body='{"model":"%s"}' % name)
            if run >= 0:
                result["pull_s"].append(pull_s)
                result["curl_s"].append(curl_s)
                result["ratio"].append(pull_s / curl_s)
        return result


def main():
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 30
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    if not reg.is_installed() or not shutil.which("curl"):
        raise SystemExit("docker-registry and curl are needed (scripts/setup-debian test)")
    result = measure(size, runs)
    print(f"pull of {size >> 20} MiB, verified: {statistics.median(result['pull_s']):.2f} s; curl + sha256sum: "
          f"{statistics.median(result['curl_s']):.2f} s; ratio {statistics.median(result['ratio']):.2f} "
          f"({min(result['ratio']):.2f} to {max(result['ratio']):.2f} in {runs} runs)")


if __name__ == "__main__":
    main()
