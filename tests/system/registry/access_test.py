#!/usr/bin/env python3
"""Registries that want something first, or send us elsewhere: passwords, tokens, TLS with an own authority, redirected blobs."""
import base64
import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fixtures"))
import registry as reg  # noqa: E402
from server import Server, free_port  # noqa: E402

MIB = 1 << 20


def run(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, **more)


def pull(server, name, **more):
    return server.stream("/api/pull", {"model": name, **more}).rest()[-1]


class Toy:
    """A small HTTP server whose GETs go to `answer(handler)`; it keeps (path, Authorization) of each."""

    def __init__(self, answer, port=0):
        seen = self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                seen.append((self.path, self.headers.get("Authorization")))
                answer(self)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def send(handler, body, status=200, headers=None):
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


class Access(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="corral-access-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.layers, self.config = reg.model_blobs(3 * MIB, 21)

    def password_file(self, host):
        file = self.folder / "auth.json"
        file.write_text(json.dumps({"auths": {host: {"auth": base64.b64encode(b"user:secret").decode()}}}))
        return str(file)

    def certificate(self, name):
        key, certificate = self.folder / f"{name}.key", self.folder / f"{name}.crt"
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key), "-out",
            str(certificate), "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        return key, certificate

    def test_basic_authentication(self):
        users = self.folder / "users"
        users.write_bytes(run("htpasswd", "-nbB", "user", "secret").stdout)
        headers = {"Authorization": "Basic " + base64.b64encode(b"user:secret").decode()}
        with reg.DockerRegistry(auth={"htpasswd": {"realm": "x", "path": str(users)}}) as registry:
            registry.put_model("library/m", "latest", self.layers, self.config, headers=headers)
            name = f"{registry.host}/library/m"
            with Server() as server:
                self.assertEqual({"error": "pull model manifest: unauthorized: access denied"}, pull(server, name, insecure=True))
            with Server(env={"CORRAL_REGISTRY_AUTH": self.password_file(registry.host)}) as server:
                self.assertEqual({"status": "success"}, pull(server, name, insecure=True))
                server.copy(name, f"{registry.host}/team/m")
                records = server.stream("/api/push", {"model": f"{registry.host}/team/m", "insecure": True}).rest()
                self.assertEqual({"status": "success"}, records[-1])
                self.assertNotIn("secret", server.log())

    def test_tokens_for_pull_and_push(self):
        key, certificate = self.certificate("tokens")
        der = run("openssl", "x509", "-in", str(certificate), "-outform", "DER").stdout

        def encode(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=")

        def token(handler):
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(handler.path).query)
            access = []
            for scope in query.get("scope", []):
                kind, repository, actions = scope.split(":")
                access.append({"type": kind, "name": repository, "actions": actions.split(",")})
            now = int(time.time())
            claims = {"iss": "test", "sub": "", "aud": query["service"][0], "exp": now + 300, "nbf": now - 5, "iat": now, "jti": query["nonce"][0],
                      "access": access}
            header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
            text = encode(json.dumps(header).encode()) + b"." + encode(json.dumps(claims).encode())
            signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", str(key)], input=text, check=True, capture_output=True).stdout
            send(handler, json.dumps({"token": (text + b"." + encode(signature)).decode()}).encode())

        with Toy(token) as tokens:
            auth = {"token": {"realm": f"http://{tokens.host}/token", "service": "toy", "issuer": "test", "rootcertbundle": str(certificate)}}
            with reg.DockerRegistry(auth=auth) as registry, Server() as server:
                # Put in by a push of ours, from a registry that wants nothing.
                with reg.DockerRegistry() as plain:
                    plain.put_model("library/m", "latest", self.layers, self.config)
                    self.assertEqual({"status": "success"}, pull(server, f"{plain.host}/library/m", insecure=True))
                    server.copy(f"{plain.host}/library/m", f"{registry.host}/library/m")
                records = server.stream("/api/push", {"model": f"{registry.host}/library/m", "insecure": True}).rest()
                self.assertEqual({"status": "success"}, records[-1])
                for name in server.model_names():
                    server.request("DELETE", "/api/delete", body=json.dumps({"model": name}))
                self.assertEqual({"status": "success"}, pull(server, f"{registry.host}/library/m", insecure=True))
                self.assertTrue(tokens.seen)
                self.assertEqual({None}, {authorization for _, authorization in tokens.seen}, "another host gets nothing of ours")

    def test_tls_with_an_own_authority(self):
        key, certificate = self.certificate("registry")
        port = free_port()
        registry = reg.DockerRegistry()
        with registry:
            registry.put_model("library/m", "latest", self.layers, self.config)
            registry.stop()
            registry.http_config = {"tls": {"certificate": str(certificate), "key": str(key)}}
            registry.port, registry.authority = port, str(certificate)
            registry.start()
            name = f"localhost:{port}/library/m"
            with Server() as server:
                self.assertIn("tls: failed to verify certificate", pull(server, name)["error"])
            for variable in ("CORRAL_CA_FILE", "SSL_CERT_FILE"):
                with Server(env={variable: str(certificate)}) as server:
                    self.assertEqual({"status": "success"}, pull(server, name), variable)

    def test_blobs_that_lie_elsewhere_are_fetched_there_without_the_password(self):
        users = self.folder / "users"
        users.write_bytes(run("htpasswd", "-nbB", "user", "secret").stdout)
        headers = {"Authorization": "Basic " + base64.b64encode(b"user:secret").decode()}
        data = {reg.digest(data).split(":")[1]: data for _, data in [*self.layers, ("", self.config)]}

        def blob(handler):
            whole = data[handler.path.rsplit("/", 2)[1]]  # .../<hex>/data
            first, last = handler.headers["Range"].removeprefix("bytes=").split("-")
            part = whole[int(first):int(last) + 1]
            send(handler, part, 206, {"Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(whole)}"})

        with Toy(blob) as elsewhere:
            storage = {"middleware": {"storage": [{"name": "redirect", "options": {"baseurl": f"http://{elsewhere.host}/"}}]}}
            with reg.DockerRegistry(auth={"htpasswd": {"realm": "x", "path": str(users)}}, more=storage) as registry:
                registry.put_model("library/m", "latest", self.layers, self.config, headers=headers)
                with Server(env={"CORRAL_REGISTRY_AUTH": self.password_file(registry.host)}) as server:
                    self.assertEqual({"status": "success"}, pull(server, f"{registry.host}/library/m", insecure=True))
                    reg.assert_store_is_whole(self, server.models)
                self.assertTrue(elsewhere.seen)
                self.assertEqual({None}, {authorization for _, authorization in elsewhere.seen})

    def test_a_proxy_of_the_environment_is_used_and_not_for_this_machine(self):
        def refuse(handler):
            send(handler, b"no", 502)
        with Toy(refuse) as proxy, reg.DockerRegistry() as registry:
            registry.put_model("library/m", "latest", self.layers, self.config)
            with Server(env={"HTTP_PROXY": f"http://{proxy.host}"}) as server:
                self.assertEqual({"status": "success"}, pull(server, f"{registry.host}/library/m", insecure=True))
                self.assertEqual([], proxy.seen)
                self.assertEqual({"error": "pull model manifest: 502: no"}, pull(server, "far.example:5000/library/m", insecure=True))
                self.assertEqual("http://far.example:5000/v2/library/m/manifests/latest", proxy.seen[0][0])

    def test_only_registries_of_the_list_are_used(self):
        with Server(env={"CORRAL_REGISTRIES": "registry.example"}) as server:
            answer = server.post("/api/pull", {"model": "127.0.0.1:1/a/b", "insecure": True})
            self.assertEqual(403, answer.status)
            self.assertIn("is not allowed here", answer.json["error"])


if __name__ == "__main__":
    if not reg.is_installed():
        print("skipped: docker-registry is not installed (scripts/setup-debian test)")
        sys.exit(77)
    unittest.main(verbosity=2)
