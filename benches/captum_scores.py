"""What captum's TracInCP says of a run's documents, as a table for `milepost influence RUN --check N --beside tracin=OUT`.

    pip install captum                                   # beside torch and transformers
    milepost influence RUN --measure kl,acceptance       # makes documents.tsv, which says what the documents are
    python benches/captum_scores.py RUN kl+acceptance OUT.tsv
    milepost influence RUN --measure kl,acceptance --check 32 --beside tracin=OUT.tsv

The training example is a document alone, with the sum of the losses of its tokens by both models; the test example is the goal, on all prompts. The
checkpoints are those of the estimate, each with the run's learning rate (Pruthi et al. 2020, arXiv 2002.08484): no preconditioner, no first moment, no
clipping, and no knowledge of when a document was seen. Captum's influence is how much a document lowers a loss, so its negative is written.
"""

import csv
import json
import sys
import time
import tomllib
from pathlib import Path

import torch
from captum.influence import TracInCP
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

ROLES = ("main", "assistant")


def rows(path):
    csv.field_size_limit(1 << 30)
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def kl(p, q):
    return (p.exp() * (p - q)).sum(1)


def acceptance(p, q):
    return torch.minimum(p.exp(), q.exp()).sum(1)


class Pair(torch.nn.Module):
    """Both models. A document, `[1, time]`, gives the sum of its losses, `[1]`; numbers of goals below 0, `[goals, 1]`, give the goals, `[goals]`."""

    def __init__(self, folder, prompts, goals):
        super().__init__()
        self.models = torch.nn.ModuleList(GPT2LMHeadModel.from_pretrained(folder / role, attn_implementation="eager").eval() for role in ROLES)
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        self.last = lengths - 1
        self.prompts = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
        for row, prompt in zip(self.prompts, prompts):
            row[: len(prompt)] = torch.tensor(prompt)
        self.goals = goals

    def forward(self, ids):
        if ids[0, 0] < 0:
            each = torch.arange(len(self.last))
            said = [model(self.prompts).logits[each, self.last].log_softmax(1) for model in self.models]
            asked = [self.goals[-1 - int(number)] for number in ids[:, 0]]
            return torch.stack([(measure(*said) * weights).sum() for measure, weights in asked])
        losses = [model(ids).logits[0, :-1].log_softmax(1).gather(1, ids[0, 1:, None]) for model in self.models]
        return -sum(loss.sum() for loss in losses)[None]


def main(run, name, out):
    run = Path(run)
    estimate = run / "influence" / name
    summary = json.loads((estimate / "influence.json").read_text())
    rate = tomllib.loads((run / "experiment.toml").read_text())["train"]["lr"]
    tokenizer = Tokenizer.from_file(str(run / "models/main/tokenizer.json"))
    documents = [row for row in rows(estimate / "documents.tsv") if int(row["predictions"]) > 0]
    ids = [tokenizer.encode(row["text"]).ids for row in documents]
    texts = [row["prompt"] for row in rows(next(iter(sorted(run.glob("templates/step-*-template-kl.tsv")))))]
    prompts = [tokenizer.encode(text).ids for text in texts]
    mean = torch.full((len(prompts),), 1 / len(prompts))
    gaps = {}
    for row in rows(run / "templates/pairs.tsv"):
        gap = gaps.setdefault(row["contrast"], torch.zeros(len(prompts)))
        gap[int(row["first"])] += 1
        gap[int(row["second"])] -= 1
    weights = {"mean": mean} | {contrast: gap / gap.clamp(min=0).sum() for contrast, gap in gaps.items()}
    measures = {"kl": kl, "acceptance": acceptance}
    names = [goal["name"] for goal in summary["goals"] if goal["name"].split("/")[0] in measures]
    goals = [(measures[measure], weights[of]) for measure, of in (goal.split("/") for goal in names)]

    folder = lambda step: run / f"checkpoints/step-{step:08}"
    steps = [step for step in summary["made_of"]["checkpoints"] if folder(step).is_dir()]
    pair = Pair(folder(steps[-1]), prompts, goals)
    with torch.no_grad():
        last = steps[-1]
        for index, goal in enumerate(names):
            known = next(one for one in summary["goals"] if one["name"] == goal)
            known = known["values"][summary["states"].index(last)]
            here = float(pair(torch.tensor([[-1 - index]])))
            print(f"{goal} at step {last}: {here:+.6f} here, {known:+.6f} by milepost")
            assert abs(here - known) < 1e-4, "the goals are not the same"

    def load(pair, step):
        for role, model in zip(ROLES, pair.models):
            model.load_state_dict(GPT2LMHeadModel.from_pretrained(folder(int(step)) / role).state_dict())
        return rate

    data = [(torch.tensor(one), 0) for one in ids]
    as_it_is = lambda losses, labels: losses
    tracin = TracInCP(pair, data, [str(step) for step in steps], load, loss_fn=as_it_is, batch_size=1, test_loss_fn=as_it_is)
    began = time.monotonic()
    numbers = torch.arange(-1, -1 - len(goals), -1)
    found = -tracin.influence((numbers[:, None], numbers), show_progress=False)
    print(f"{len(goals)} goals, {len(ids)} documents at {len(steps)} checkpoints in {time.monotonic() - began:.0f} s")
    with open(out, "w") as file:
        file.write("\t".join(["document", *names]) + "\n")
        for row, values in zip(documents, found.T.tolist()):
            file.write("\t".join([row["document"], *(repr(value) for value in values)]) + "\n")


main(*sys.argv[1:])
