"""The training step of training.rs with transformers' GPT-2 in PyTorch, for that program alone to start: python training.py '{"vocab": ...}'.

Reads words from its input: `eager`, `compiled`, `bf16`, `f16`, `memory`, `sgemm`. For the first four, of which two are eager by torch.autocast, it takes the steps of a round with fused AdamW and answers with the seconds
of a step. `memory` answers with the most memory that the process has had, in bytes; `sgemm` with GFLOP/s of a product of 1024 x 1024 matrices."""
import json
import resource
import sys
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel

SIZE = json.loads(sys.argv[1])
torch.manual_seed(1)
BATCH, TIME, VOCAB = SIZE["batch"], SIZE["time"], SIZE["vocab"]
IDS = torch.arange(BATCH * (TIME + 1)).reshape(BATCH, TIME + 1) * 7919 % VOCAB
model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_positions=TIME + 1, n_embd=SIZE["width"], n_layer=SIZE["layers"], n_head=SIZE["heads"], bos_token_id=0, eos_token_id=0)).train()
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
made = {}


def loss_of(ids):
    # TIME predictions a row, as in training.rs, which cuts the last token off before the pass.
    logits = model(ids[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def by_autocast(element):
    def loss(ids):
        with torch.autocast("cpu", dtype=element):
            return loss_of(ids)
    return loss


MAKE = {
    "eager": lambda: loss_of,
    "compiled": lambda: torch.compile(loss_of),
    "bf16": lambda: by_autocast(torch.bfloat16),
    "f16": lambda: by_autocast(torch.float16),
}
SCALER = torch.amp.GradScaler("cpu")


def step(kind):
    scaler = SCALER if kind == "f16" else torch.amp.GradScaler("cpu", enabled=False)
    loss = made[kind](IDS)
    scaler.scale(loss).backward()
    scaler.unscale_(optimiser)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimiser)
    scaler.update()
    optimiser.zero_grad(set_to_none=True)
    return loss.item()


def round_of(kind):
    if kind not in made:
        made[kind] = MAKE[kind]()
        for _ in range(2):
            step(kind)
    start = time.perf_counter()
    for _ in range(SIZE["steps"]):
        step(kind)
    return (time.perf_counter() - start) / SIZE["steps"]


def sgemm():
    a = torch.ones(1024, 1024)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        torch.mm(a, a)
        best = min(best, time.perf_counter() - start)
    return 2 * 1024**3 / best / 1e9


for line in sys.stdin:
    word = line.strip()
    if word == "memory":
        answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    elif word == "sgemm":
        answer = sgemm()
    else:
        answer = round_of(word)
    print(json.dumps(answer), flush=True)
