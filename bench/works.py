"""The works: each takes a running server and the number of the run, and gives figures by name."""
import re
import statistics
import threading
import time

from server import in_parallel, words


def text(tokens, seed):
    """English of about so many of SmolLM2's tokens: with numbers of five digits a sentence has more than words() thinks."""
    return words(tokens * 0.75, seed)


def prose(n_words, seed):
    """Exactly so many words of plain English, without numbers: about 1.3 tokens each."""
    sentences = re.sub(r"\d+\. ", "", words(n_words * 2, seed))
    return " ".join(sentences.split()[:n_words])


def together(calls):
    """Starts all calls at the same moment: (wall seconds, results)."""
    gate = threading.Barrier(len(calls) + 1)
    begin = []

    def gated(call):
        def run():
            gate.wait(30)
            return call()
        return run

    opener = threading.Thread(target=lambda: (gate.wait(30), begin.append(time.monotonic())), daemon=True)
    opener.start()
    results = in_parallel(*[gated(call) for call in calls], seconds=600)
    return time.monotonic() - begin[0], results


def counted(peer, work):
    before = peer.evaluated()
    figures = work()
    if before is not None:
        figures["evaluated"] = peer.evaluated() - before
    return figures


def one(peer, run):
    """One stream: 400 tokens in, 128 out."""
    line = peer.complete(text(400, seed=11), 128).expect(128)
    return {"tokens_per_s": line.rate, "first_token_s": line.first, "prompt_tokens": line.prompt_tokens}


def repeat(peer, run):
    """A 1,300-token prompt a second time."""
    prompt = text(1300, seed=40 + run)
    peer.complete(prompt, 2)
    line = peer.complete(prompt, 24).expect(24)
    return {"first_token_s": line.first, "step_s": line.step, "first_over_step": line.first / line.step}


def shared(peer, run):
    """8 clients at once with one 1,300-token prefix, 20 tokens of their own, 32 out; nothing known before."""
    prefix = text(1300, seed=60 + run)
    prompts = [f"{prefix} Now client number {client}: tell us about item {client * 7} in the list." for client in range(1, 9)]

    def work():
        wall, lines = together([lambda prompt=prompt: peer.complete(prompt, 32) for prompt in prompts])
        return {"wall_s": wall, "prompt_tokens": sum(line.prompt_tokens for line in lines), "tokens": sum(line.tokens for line in lines)}
    return counted(peer, work)


def disjoint(peer, run):
    """8 clients at once with prompts of 330 tokens that have nothing in common, 64 out."""
    prompts = [text(330, seed=100 + run * 8 + client) for client in range(8)]

    def work():
        wall, lines = together([lambda prompt=prompt: peer.complete(prompt, 64).expect(64) for prompt in prompts])
        return {"wall_s": wall, "first_token_s": statistics.mean(line.first for line in lines)}
    return counted(peer, work)


def turns(peer, run):
    """4 conversations of 4 turns, in turns: 250 tokens in, 48 out each."""
    texts = [text(250, seed=200 + run * 4 + conversation) for conversation in range(4)]

    def work():
        begin, firsts = time.monotonic(), []
        for turn in range(4):
            for conversation in range(4):
                line = peer.complete(texts[conversation], 48)
                firsts.append(line.first)
                texts[conversation] += line.text + " " + text(60, seed=300 + turn)
        return {"wall_s": time.monotonic() - begin, "first_token_s": statistics.mean(firsts)}
    return counted(peer, work)


def beside(peer, run):
    """A stream of 160 tokens alone, and beside a new prompt of 1,600 words."""
    alone = peer.complete(text(60, seed=400 + run), 160).expect(160)
    long_prompt = prose(1600, seed=500 + run)
    started = threading.Event()

    def long():
        started.wait(60)
        return peer.complete(long_prompt, 4)

    def stream():
        return peer.complete(text(60, seed=450 + run), 160, on_text=lambda line: started.set() if len(line.times) >= 10 else None).expect(160)

    stream_line, long_line = in_parallel(stream, long, seconds=600)
    if long_line.prompt_tokens < 1600:
        raise SystemExit(f"{peer.name} cut a prompt of 1,600 words to {long_line.prompt_tokens} tokens")
    return {"alone_s": alone.wall, "beside_s": stream_line.wall, "slower": stream_line.wall / alone.wall * alone.tokens / stream_line.tokens,
            "longest_gap_s": stream_line.longest_gap, "prompt_first_s": long_line.first, "prompt_tokens": long_line.prompt_tokens}


def idle(peer, run):
    """A lone stream before and after 8 other conversations of 2,000 tokens."""
    fresh = peer.complete(text(100, seed=600 + run), 128).expect(128)
    for conversation in range(8):
        peer.complete(text(2000, seed=610 + run * 8 + conversation), 2)
    after = peer.complete(text(100, seed=690 + run), 128).expect(128)
    return {"fresh_tokens_per_s": fresh.rate, "after_tokens_per_s": after.rate, "kept": after.rate / fresh.rate}


def embed(peer, run):
    """256 short texts embedded in one request."""
    texts = [text(24, seed=700 + run * 256 + number) for number in range(256)]
    begin = time.monotonic()
    vectors = peer.embed(texts)
    wall = time.monotonic() - begin
    if len(vectors) != 256:
        raise SystemExit(f"{len(vectors)} vectors for 256 texts")
    return {"texts_per_s": 256 / wall}


def two(peer, run):
    """Two models, one stream each: alone, then at once."""
    first, second = peer.models
    alone = [peer.complete(text(60, seed=900 + run), 160, model=model).expect(160) for model in (first, second)]
    _, both = together([lambda model=model: peer.complete(text(60, seed=950 + run), 160, model=model).expect(160) for model in (first, second)])
    mean = statistics.mean(line.tokens / line.wall for line in alone)
    total = sum(line.tokens / line.wall for line in both)
    return {"alone_tokens_per_s": mean, "total_tokens_per_s": total, "total_over_alone": total / mean}
