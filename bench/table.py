"""The figures of each work: how they are computed from a run of ours and the peer's, what is wanted, and the printed table."""
import dataclasses
import statistics


@dataclasses.dataclass
class Row:
    """A line of the table. `figure`: a name in a run's figures, or a function of them; None where a server does not tell."""
    label: str
    figure: object
    relation: str
    wanted: float = None
    over_peer: bool = True  # ours over the peer's; else the figure of each by itself

    def of(self, figures):
        try:
            return self.figure(figures) if callable(self.figure) else figures[self.figure]
        except KeyError:
            return None

    def ratios(self, ours, others):
        """Of each run; empty where the other one does not tell."""
        pairs = [(self.of(our), self.of(other)) for our, other in zip(ours, others)]
        return [our / other for our, other in pairs if our is not None and other]


def itself(label, figure, relation, wanted=None):
    return Row(label, figure, relation, wanted, over_peer=False)


def megabytes(figures):
    return figures["idle_bytes"] / 1e6


def part_evaluated(figures):
    return figures["evaluated"] / figures["prompt_tokens"]


ROWS = {
    "one": [Row("one stream: tokens/s over llama-bench's", "tokens_per_s", ">=", 0.95)],
    "shared": [Row("8 clients, one prefix, cold: wall over llama-server's", "wall_s", "<=", 0.35),
               itself("  tokens evaluated of all prompts' tokens", part_evaluated, "<=")],
    "disjoint": [Row("8 disjoint prompts: wall over llama-server's", "wall_s", "<=", 1.0)],
    "repeat": [itself("the same prompt again: first token over a step", "first_over_step", "<=", 1.8)],
    "beside": [itself("a stream beside a new prompt: its time over alone", "slower", "<=", 2.5),
               itself("  longest gap between its tokens (s)", "longest_gap_s", "<=", 0.3),
               Row("  the prompt's first token over llama-server's", "prompt_first_s", "<=", 1.4)],
    "idle": [itself("a lone stream after 8 idle conversations: tokens/s over fresh", "kept", ">=", 0.95)],
    "turns": [Row("4 conversations of 4 turns: wall over llama-server's", "wall_s", "<="),
              Row("  tokens evaluated over llama-server's", "evaluated", "<=")],
    "embed": [Row("256 short texts: texts/s over llama-server's", "texts_per_s", ">=", 1.2)],
    "two": [itself("two models at once: tokens/s over the mean of each alone", "total_over_alone", ">=", 0.9)],
    "cold": [Row("start to first token, model not loaded: over llama-server's", "first_token_s", "<="),
             itself("start to the first answer on / (s)", "answers_s", "<=", 0.1)],
    "pull": [Row("pull of 1 GiB, hashed and stored: time over curl + sha256sum", "wall_s", "<=", 0.9)],
    "memory": [itself("resident, no model (MB)", megabytes, "<=", 25),
               Row("resident, one model: over llama-server's", "loaded_bytes", "<=")],
}


def judge(name, figures):
    """figures: {server: [the figures of each run]}. The first that is not ours is the peer."""
    ours = figures["corral"]
    peers = next(runs for server, runs in figures.items() if server != "corral")
    rows = []
    for row in ROWS[name]:
        values = row.ratios(ours, peers) if row.over_peer else [row.of(our) for our in ours]
        judged = {"label": row.label, "median": statistics.median(values), "min": min(values), "max": max(values), "runs": values,
                  "relation": row.relation, "wanted": row.wanted}
        if row.wanted is not None:
            judged["met"] = judged["median"] <= row.wanted if row.relation == "<=" else judged["median"] >= row.wanted
        if not row.over_peer and (told := [row.of(peer) for peer in peers if row.of(peer) is not None]):
            judged["peer"] = statistics.median(told)
        if over_ollama := row.ratios(ours, figures.get("ollama", [])):
            judged["over_ollama"] = statistics.median(over_ollama)
        rows.append(judged)
    return rows


def show(model, machine, works):
    """Prints the table of one model."""
    head = ["figure", "wanted", "median", "spread", "llama-server's", "over Ollama's", ""]
    lines = []
    for row in (row for work in works.values() for row in work["rows"]):
        wanted = "" if row["wanted"] is None else f"{row['relation']} {row['wanted']}"
        beside = [f"{row[key]:.3f}" if key in row else "" for key in ("peer", "over_ollama")]
        verdict = {True: "ok", False: "MISSED"}.get(row.get("met"), "")
        lines.append([row["label"], wanted, f"{row['median']:.3f}", f"{row['min']:.3f}-{row['max']:.3f}", *beside, verdict])
    if not any(line[5] for line in lines):
        for line in [head, *lines]:
            del line[5]  # no Ollama was found
    widths = [max(map(len, column)) for column in zip(head, *lines)]
    print(f"\n{model}, {machine['threads']} threads, {machine['processor']}, load {machine['load']}")
    for line in [head, *lines]:
        print("  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths))).rstrip())
