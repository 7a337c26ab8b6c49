#!/usr/bin/env python3
"""Reads a model store as Ollama lays it out, and checks it. Knows the layout and nothing of Corral's code.

    read_store.py STORE [--as-created]

Prints one JSON object: models by full name, with what their layers say, and blobs that no model names. Every departure
from the layout is a line on stderr, and the exit status is 1. --as-created also checks what `create` promises of its
manifests and small layers byte for byte: key order, compact JSON, one newline at the end.
"""
import hashlib
import json
import os
import re
import stat
import sys

IMAGE = "application/vnd.ollama.image."
KINDS = {"model", "projector", "adapter", "draft", "template", "prompt", "system", "params", "messages", "license", "embed",
         "tensor", "json"}
PARTS = [re.compile(p) for p in (r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}", r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}",
                                 r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")]
BLOB = re.compile(r"sha256-[0-9a-f]{64}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LAYER_KEYS = ["mediaType", "digest", "size", "from", "name"]
CONFIG_KEYS = ["model_format", "model_family", "model_families", "model_type", "file_type", "renderer", "parser", "requires",
               "remote_host", "remote_model", "capabilities", "context_length", "embedding_length", "base_name", "draft",
               "architecture", "os"]

errors = []


def wrong(text):
    errors.append(text)


def in_order(keys, order):
    places = [order.index(key) if key in order else -1 for key in keys]
    return -1 not in places and places == sorted(places)


def go_json(value):
    """As Go's encoder writes it: compact, and safe inside HTML."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, "\\u%04x" % ord(character))
    return text + "\n"


class Store:
    def __init__(self, root, as_created):
        self.root, self.as_created, self.used = root, as_created, set()

    def blob(self, where, layer):
        digest, size = layer.get("digest", ""), layer.get("size")
        if not DIGEST.fullmatch(digest):
            return wrong(f"{where}: digest {digest!r}")
        path = os.path.join(self.root, "blobs", digest.replace(":", "-"))
        self.used.add(os.path.basename(path))
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            return wrong(f"{where}: {error.strerror}: {path}")
        if len(data) != size:
            wrong(f"{where}: {digest} has {len(data)} bytes, the manifest says {size}")
        if hashlib.sha256(data).hexdigest() != digest[7:]:
            wrong(f"{where}: {digest} does not hold what its name says")
        return data

    def model(self, where, path):
        with open(path, "rb") as file:
            raw = file.read()
        manifest = json.loads(raw)
        if manifest.get("schemaVersion") != 2:
            wrong(f"{where}: schemaVersion {manifest.get('schemaVersion')}")
        if manifest.get("mediaType") != "application/vnd.docker.distribution.manifest.v2+json":
            wrong(f"{where}: mediaType {manifest.get('mediaType')}")
        config = manifest["config"]
        if config.get("mediaType") != "application/vnd.docker.container.image.v1+json":
            wrong(f"{where}: config mediaType {config.get('mediaType')}")
        model = {"digest": hashlib.sha256(raw).hexdigest(), "licenses": [], "layers": [],
                 "size": config["size"] + sum(layer["size"] for layer in manifest["layers"])}
        if self.as_created:
            if list(manifest) != ["schemaVersion", "mediaType", "config", "layers"] or raw.decode() != go_json(manifest):
                wrong(f"{where}: manifest is not as create writes it")
            for layer in [config, *manifest["layers"]]:
                if not in_order(layer, LAYER_KEYS):
                    wrong(f"{where}: layer keys {list(layer)}")
        data = self.blob(where + " config", config)
        if data is not None:
            model["config"] = json.loads(data)
            if self.as_created and (not in_order(model["config"], CONFIG_KEYS) or
                                    data.decode() != go_json(model["config"])):
                wrong(f"{where}: config is not as create writes it")
        for layer in manifest["layers"]:
            self.layer(where, layer, model)
        return model

    def layer(self, where, layer, model):
        kind = layer.get("mediaType", "")
        if not kind.startswith(IMAGE) or kind[len(IMAGE):] not in KINDS:
            return wrong(f"{where}: layer mediaType {kind!r}")
        kind = kind[len(IMAGE):]
        model["layers"].append(kind)
        data = self.blob(f"{where} {kind}", layer)
        if data is None:
            return None
        if kind == "model" and data[:4] != b"GGUF":
            wrong(f"{where}: model is no GGUF file")
        elif kind in ("template", "prompt", "system"):
            model["template" if kind == "prompt" else kind] = data.decode()
        elif kind == "license":
            model["licenses"].append(data.decode())
        elif kind in ("params", "messages"):
            model[kind] = json.loads(data)
            if self.as_created:
                keys = list(model[kind]) if kind == "params" else []
                if keys != sorted(keys) or data.decode() != go_json(model[kind]):
                    wrong(f"{where}: {kind} are not as create writes them")
        return None

    def models(self):
        models = {}
        base = os.path.join(self.root, "manifests")
        for folder, folders, files in os.walk(base):
            relative = os.path.relpath(folder, base)
            depth = 0 if relative == "." else relative.count(os.sep) + 1
            if depth == 4 and folders:
                wrong(f"manifests/{relative}: folders below the fourth level")
            for name in files:
                path = os.path.join(folder, name)
                parts = os.path.relpath(path, base).split(os.sep)
                where = "manifests/" + "/".join(parts)
                if len(parts) != 4 or not all(p.fullmatch(part) for p, part in zip(PARTS, parts)):
                    wrong(f"{where}: not host/namespace/model/tag")
                    continue
                if os.path.islink(path):
                    wrong(f"{where}: a link")
                    continue
                host, namespace, model, tag = parts
                try:
                    models[f"{host}/{namespace}/{model}:{tag}"] = self.model(where, path)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    wrong(f"{where}: {error!r}")
        return models

    def orphans(self):
        found = []
        for name in sorted(os.listdir(os.path.join(self.root, "blobs"))):
            info = os.lstat(os.path.join(self.root, "blobs", name))
            if not BLOB.fullmatch(name) or not stat.S_ISREG(info.st_mode):
                wrong(f"blobs/{name}: not a blob")
                continue
            if stat.S_IMODE(info.st_mode) != 0o644:
                wrong(f"blobs/{name}: mode {stat.S_IMODE(info.st_mode):o}")
            if name not in self.used:
                found.append(name)
        return found

    def other_entries(self):
        for name in os.listdir(self.root):
            # A name with a dot is somebody's own; Ollama looks at none.
            if name not in ("manifests", "blobs") and not name.startswith("."):
                wrong(f"{name}: neither manifests nor blobs")


def main(arguments):
    as_created = "--as-created" in arguments
    roots = [argument for argument in arguments if not argument.startswith("--")]
    if len(roots) != 1:
        sys.exit(__doc__)
    store = Store(roots[0], as_created)
    report = {"models": store.models(), "orphans": store.orphans()}
    store.other_entries()
    print(json.dumps(report, indent=1, sort_keys=True))
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
