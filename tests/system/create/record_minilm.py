#!/usr/bin/env python3
"""Records what sentence-transformers makes of some texts: record_minilm.py <folder of all-MiniLM-L6-v2>.

Needs sentence-transformers. Writes minilm_vectors.json beside itself; create_test.py compares the vectors of the model that
Corral converted from the same folder."""
import json
import pathlib
import sys

from sentence_transformers import SentenceTransformer

TEXTS = ["The quick brown fox jumps over the lazy dog.", "Ein kurzer Satz auf Deutsch, mit Ümlauten.",
         "def add(a, b):\n    return a + b", "naïve café — 42 % of €3.50!", "a"]

vectors = SentenceTransformer(sys.argv[1], device="cpu").encode(TEXTS, normalize_embeddings=True)
lines = [json.dumps({"text": text, "vector": [round(float(x), 6) for x in vector]}) for text, vector in zip(TEXTS, vectors)]
(pathlib.Path(__file__).parent / "minilm_vectors.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
