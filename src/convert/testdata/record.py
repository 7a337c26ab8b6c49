#!/usr/bin/env python3
"""Records what llama.cpp's own converter makes of tiny random models, one a family.

    record.py <llama.cpp source>

Needs torch, transformers, safetensors, sentencepiece, tokenizers, numpy. Writes beside itself, for each family, a folder
with the model as Hugging Face has it and `expected.json`: keys and tensors (type, shape, SHA-256 of the data) of the GGUF.
convert_test.cc converts the same folder and compares.

The converter tells a byte-level tokenizer by a hash of what it makes of one text, which a tokenizer of forty tokens
cannot give: the script says the name of the family's tokenizer in its place. The pre-tokenizers are the families' own.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, decoders

HERE = Path(__file__).parent
LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                r"|\s+(?!\S)|\s+")
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")
HIDDEN, HEADS, KV_HEADS, LAYERS, FF = 16, 4, 2, 2, 24


class Weights:
    def __init__(self, seed, dtype):
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype, self.tensors = dtype, {}

    def add(self, name, *shape):
        self.tensors[name] = (torch.randn(*shape, generator=self.generator) * 0.5).to(self.dtype)


def byte_level(folder, split, special, extra, bos=None):
    from tokenizers.pre_tokenizers import ByteLevel
    alphabet = sorted(ByteLevel.alphabet())[:40]
    vocab = {c: i for i, c in enumerate(alphabet)}
    merges = [(alphabet[0], alphabet[1]), (alphabet[2], alphabet[3])]
    for a, b in merges:
        vocab[a + b] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=bos is not None))
    if split is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        from tokenizers import Regex
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(split), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(extra)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", bos, "$B"], special_tokens=[(bos, tokenizer.token_to_id(bos))])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer.get_vocab_size()


def pieces(folder, extra_special=()):
    text = folder / "corpus.txt"
    text.write_text("the quick brown fox jumps over the lazy dog\nhello world and all who live in it\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "tokenizer"), vocab_size=300, model_type="bpe", byte_fallback=True,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, hard_vocab_limit=False, user_defined_symbols=["<start>"],
        normalization_rule_name="identity", minloglevel=2)
    text.unlink()
    (folder / "tokenizer.vocab").unlink()
    return sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model")).vocab_size()


def word_pieces(folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "a", "##s", "##ing", "run", "dog", "!", "1", "##1"]
    tokenizer = Tokenizer(models.WordPiece(vocab={w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.add_special_tokens(words[:5])
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(words)


def decoder(weights, vocab, head_dim, heads=HEADS, kv=KV_HEADS, bias=False, qk_norm=False, gemma=False, head=True,
            fused=False, prefix="model."):
    weights.add(prefix + "embed_tokens.weight", vocab, HIDDEN)
    weights.add(prefix + "norm.weight", HIDDEN)
    if head:
        weights.add("lm_head.weight", vocab, HIDDEN)
    for i in range(LAYERS):
        at = f"{prefix}layers.{i}."
        weights.add(at + "input_layernorm.weight", HIDDEN)
        weights.add(at + "post_attention_layernorm.weight", HIDDEN)
        if gemma:
            weights.add(at + "pre_feedforward_layernorm.weight", HIDDEN)
            weights.add(at + "post_feedforward_layernorm.weight", HIDDEN)
        if fused:
            weights.add(at + "self_attn.qkv_proj.weight", (heads + 2 * kv) * head_dim, HIDDEN)
            weights.add(at + "mlp.gate_up_proj.weight", 2 * FF, HIDDEN)
        else:
            for name, rows in (("q", heads * head_dim), ("k", kv * head_dim), ("v", kv * head_dim)):
                weights.add(f"{at}self_attn.{name}_proj.weight", rows, HIDDEN)
                if bias:
                    weights.add(f"{at}self_attn.{name}_proj.bias", rows)
            weights.add(at + "mlp.gate_proj.weight", FF, HIDDEN)
            weights.add(at + "mlp.up_proj.weight", FF, HIDDEN)
        if qk_norm:
            weights.add(at + "self_attn.q_norm.weight", head_dim)
            weights.add(at + "self_attn.k_norm.weight", head_dim)
        weights.add(at + "self_attn.o_proj.weight", HIDDEN, heads * head_dim)
        weights.add(at + "mlp.down_proj.weight", HIDDEN, FF)


def config(architecture, model_type, vocab, **more):
    return {"architectures": [architecture], "model_type": model_type, "hidden_size": HIDDEN, "intermediate_size": FF,
            "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
            "vocab_size": vocab, **more}


def llama(folder):
    vocab = byte_level(folder, LLAMA3_SPLIT, ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], ["<tool>"],
                       bos="<|begin_of_text|>")
    weights = Weights(1, torch.bfloat16)
    decoder(weights, vocab, HIDDEN // HEADS)
    bos, eos = vocab - 4, vocab - 2
    return weights, config("LlamaForCausalLM", "llama", vocab, bos_token_id=bos, eos_token_id=eos, rms_norm_eps=1e-5,
                           rope_theta=500000.0, max_position_embeddings=131072, rope_scaling={
                               "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                               "original_max_position_embeddings": 8192, "rope_type": "llama3"}), {
        "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": "{{ bos_token }}{{ messages[0]['content'] }}"}


def mistral(folder):
    vocab = pieces(folder)
    weights = Weights(2, torch.float32)
    decoder(weights, vocab, HIDDEN // HEADS)
    return weights, config("MistralForCausalLM", "mistral", vocab, bos_token_id=2, eos_token_id=1, rms_norm_eps=1e-5,
                           rope_theta=10000.0, max_position_embeddings=32768, sliding_window=None, head_dim=HIDDEN // HEADS), {
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False,
        "tokenizer_class": "LlamaTokenizer", "added_tokens_decoder": {
            "0": {"content": "<pad>", "special": True}, "4": {"content": "<start>", "special": False}}}


def qwen2(folder):
    vocab = byte_level(folder, QWEN2_SPLIT, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], [])
    weights = Weights(3, torch.bfloat16)
    decoder(weights, vocab + 6, HIDDEN // HEADS, bias=True, head=False)
    return weights, config("Qwen2ForCausalLM", "qwen2", vocab + 6, bos_token_id=vocab - 3, eos_token_id=vocab - 1,
                           rms_norm_eps=1e-6, rope_theta=1000000.0, max_position_embeddings=32768,
                           tie_word_embeddings=True), {
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "add_bos_token": False,
        "tokenizer_class": "Qwen2Tokenizer"}


def qwen3(folder):
    vocab = byte_level(folder, QWEN2_SPLIT, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], ["<think>", "</think>"])
    weights = Weights(4, torch.float16)
    decoder(weights, vocab, 8, qk_norm=True)
    return weights, config("Qwen3ForCausalLM", "qwen3", vocab, head_dim=8, bos_token_id=vocab - 5, eos_token_id=vocab - 3,
                           rms_norm_eps=1e-6, rope_theta=1000000, max_position_embeddings=40960), {
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "add_bos_token": False,
        "tokenizer_class": "Qwen2Tokenizer"}


def gemma2(folder):
    vocab = pieces(folder)
    weights = Weights(5, torch.float32)
    decoder(weights, vocab, 8, gemma=True, head=False)
    return weights, config("Gemma2ForCausalLM", "gemma2", vocab, head_dim=8, bos_token_id=2, eos_token_id=1, pad_token_id=0,
                           rms_norm_eps=1e-6, max_position_embeddings=8192, sliding_window=4096,
                           attn_logit_softcapping=50.0, final_logit_softcapping=30.0, rope_theta=10000.0), {
        "bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": True, "tokenizer_class": "GemmaTokenizer",
        "added_tokens_decoder": {"1": {"content": "<eos>", "special": True}, "2": {"content": "<bos>", "special": True},
                                 "4": {"content": "<unused0>", "special": False},
                                 "5": {"content": "\u2581\u2581", "special": False}}}


def gemma3(folder):
    vocab = pieces(folder)
    weights = Weights(6, torch.bfloat16)
    decoder(weights, vocab, 8, gemma=True, qk_norm=True, head=False)
    return weights, config("Gemma3ForCausalLM", "gemma3_text", vocab, head_dim=8, bos_token_id=2, eos_token_id=1,
                           pad_token_id=0, rms_norm_eps=1e-6, max_position_embeddings=32768, sliding_window=512,
                           rope_theta=1000000.0, rope_local_base_freq=10000.0), {
        "bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": True, "add_eos_token": False,
        "tokenizer_class": "GemmaTokenizer"}


def gemma3_vision(folder):
    weights, text, tokenizer = gemma3(folder)
    names = list(weights.tensors)
    for name in names:
        weights.tensors["language_model." + name] = weights.tensors.pop(name)
    weights.add("vision_tower.vision_model.post_layernorm.weight", HIDDEN)
    weights.add("multi_modal_projector.mm_soft_emb_norm.weight", HIDDEN)
    text.pop("architectures")
    return weights, {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text,
                     "vision_config": {"model_type": "siglip_vision_model", "hidden_size": HIDDEN},
                     "bos_token_id": 2, "eos_token_id": [1, 5]}, tokenizer


def phi3(folder):
    vocab = pieces(folder)
    (folder / "added_tokens.json").write_text(json.dumps({"<|placeholder|>": vocab}))
    weights = Weights(7, torch.bfloat16)
    decoder(weights, vocab + 4, HIDDEN // HEADS, fused=True)
    half = HIDDEN // HEADS // 2
    return weights, config("Phi3ForCausalLM", "phi3", vocab + 4, bos_token_id=2, eos_token_id=1, pad_token_id=0, rms_norm_eps=1e-5,
                           rope_theta=10000.0, max_position_embeddings=131072, original_max_position_embeddings=4096,
                           sliding_window=262144, rope_scaling={
                               "type": "longrope", "long_factor": [1.05 + i for i in range(half)],
                               "short_factor": [1.0 + i / 8 for i in range(half)]}), {
        "bos_token": "<s>", "eos_token": "<|end|>", "add_bos_token": False, "tokenizer_class": "LlamaTokenizer",
        "added_tokens_decoder": {str(vocab + 1): {"content": "<|end|>", "special": True},
                                 str(vocab + 2): {"content": "<|user|>", "special": False}}}


def bert(folder):
    vocab = word_pieces(folder)
    weights = Weights(8, torch.float32)
    weights.add("embeddings.word_embeddings.weight", vocab, HIDDEN)
    weights.add("embeddings.position_embeddings.weight", 32, HIDDEN)
    weights.add("embeddings.token_type_embeddings.weight", 2, HIDDEN)
    for part in ("weight", "bias"):
        weights.add("embeddings.LayerNorm." + part, HIDDEN)
        weights.add("pooler.dense." + part, *((HIDDEN, HIDDEN) if part == "weight" else (HIDDEN,)))
    for i in range(LAYERS):
        at = f"encoder.layer.{i}."
        for name, rows, columns in (("attention.self.query", HIDDEN, HIDDEN), ("attention.self.key", HIDDEN, HIDDEN),
                                    ("attention.self.value", HIDDEN, HIDDEN), ("attention.output.dense", HIDDEN, HIDDEN),
                                    ("intermediate.dense", FF, HIDDEN), ("output.dense", HIDDEN, FF)):
            weights.add(at + name + ".weight", rows, columns)
            weights.add(at + name + ".bias", rows)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            weights.add(at + name + ".weight", HIDDEN)
            weights.add(at + name + ".bias", HIDDEN)
    (folder / "modules.json").write_text(json.dumps([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({
        "word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}))
    made = config("BertModel", "bert", vocab, max_position_embeddings=32, type_vocab_size=2, layer_norm_eps=1e-12,
                  hidden_act="gelu", pad_token_id=0)
    del made["num_key_value_heads"]
    return weights, made, {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
                           "mask_token": "[MASK]", "do_lower_case": True, "tokenizer_class": "BertTokenizer"}


FAMILIES = {"llama": (llama, "llama-bpe"), "mistral": (mistral, None), "qwen2": (qwen2, "qwen2"), "qwen3": (qwen3, "qwen2"),
            "gemma2": (gemma2, None), "gemma3": (gemma3, None), "gemma3_vision": (gemma3_vision, None),
            "phi3": (phi3, None), "bert": (bert, "bert-bge")}

RUN = """
import os, sys, runpy
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/gguf-py"]
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: os.environ["PRE"]
source = sys.argv.pop(1)
script = sys.argv.pop(1)
sys.argv[0] = source + "/" + script
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_converter(source, script, pre, *arguments):
    import os
    environment = dict(os.environ, PRE=pre or "", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", NO_LOCAL_GGUF="1")
    subprocess.run([sys.executable, "-c", RUN, source, script, *map(str, arguments)], env=environment, check=True,
                   stdout=subprocess.DEVNULL)


def describe(source, file):
    sys.path.insert(0, source + "/gguf-py")
    import gguf
    reader = gguf.GGUFReader(file)
    keys = {}
    for name, field in reader.fields.items():
        if name.startswith("GGUF."):
            continue
        value = field.contents()
        keys[name] = {"type": "/".join(t.name for t in field.types[:2]), "value": value}
    tensors = {t.name: {"type": t.tensor_type.name, "shape": [int(n) for n in t.shape],
                        "sha256": hashlib.sha256(np.ascontiguousarray(t.data).tobytes()).hexdigest()} for t in reader.tensors}
    return {"keys": dict(sorted(keys.items())), "tensors": dict(sorted(tensors.items()))}


def write_expected(folder, described):
    """One line a key and a tensor."""
    parts = []
    for part, entries in described.items():
        lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in entries.items())
        parts.append(f" {json.dumps(part)}: {{\n{lines}\n }}")
    (folder / "expected.json").write_text("{\n" + ",\n".join(parts) + "\n}\n")


def record(source, name, make, pre):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    weights, model_config, tokenizer_config = make(folder)
    save_file(weights.tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(model_config, indent=1) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=1) + "\n")
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "top_k": 20, "top_p": 0.95}) + "\n")
    out = folder / "out.gguf"
    run_converter(source, "convert_hf_to_gguf.py", pre, folder, "--outtype", "f16", "--outfile", out)
    write_expected(folder, describe(source, out))
    return out


def record_adapter(source, base_name, seed):
    base, folder = HERE / base_name, HERE / (base_name + "_adapter")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    weights = Weights(seed, torch.float32)
    at = "base_model.model.model.layers.1.self_attn."
    head_dim = json.loads((base / "config.json").read_text()).get("head_dim", HIDDEN // HEADS)
    for name, rows in (("q_proj", HEADS * head_dim), ("k_proj", KV_HEADS * head_dim), ("v_proj", KV_HEADS * head_dim)):
        weights.add(f"{at}{name}.lora_A.weight", 4, HIDDEN)
        weights.add(f"{at}{name}.lora_B.weight", rows, 4)
    weights.add("base_model.model.model.layers.0.mlp.down_proj.lora_A.weight", 4, FF)
    weights.add("base_model.model.model.layers.0.mlp.down_proj.lora_B.weight", HIDDEN, 4)
    save_file(weights.tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "k_proj", "v_proj", "down_proj"]}) + "\n")
    out = folder / "out.gguf"
    run_converter(source, "convert_lora_to_gguf.py", None, folder, "--base", base, "--outfile", out)
    write_expected(folder, describe(source, out))
    out.unlink()


def main():
    source = sys.argv[1]
    for name, (make, pre) in FAMILIES.items():
        record(source, name, make, pre).unlink()
        print("recorded", name)
    for seed, name in ((20, "llama"), (21, "gemma2")):
        record_adapter(source, name, seed)
        print("recorded adapter of", name)


if __name__ == "__main__":
    main()
