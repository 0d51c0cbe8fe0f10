"""Assisted generation by transformers for decode.rs: python decode.py FOLDER, which has main/, assistant/ and prompts.json. Prints JSON: the seconds a
prompt, the new tokens of each, and the machine's sgemm by torch."""
import json
import pathlib
import sys
import time

import torch
from transformers import GPT2LMHeadModel

folder = pathlib.Path(sys.argv[1])
prompts = json.loads((folder / "prompts.json").read_text())
main, assistant = (GPT2LMHeadModel.from_pretrained(folder / name).eval() for name in ("main", "assistant"))
assistant.generation_config.num_assistant_tokens = 5
assistant.generation_config.num_assistant_tokens_schedule = "constant"
assistant.generation_config.assistant_confidence_threshold = 0.0


def generate(ids):
    prompt = torch.tensor([ids])
    text = main.generate(prompt, attention_mask=torch.ones_like(prompt), assistant_model=assistant, do_sample=False, max_new_tokens=20, eos_token_id=50256,
                         pad_token_id=50256)
    return text[0, len(ids):].tolist()


def sgemm():
    a = torch.ones(1024, 1024)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        torch.mm(a, a)
        best = min(best, time.perf_counter() - start)
    return round(2 * 1024**3 / best / 1e9)


generate(prompts[0])
start = time.perf_counter()
tokens = [generate(ids) for ids in prompts]
seconds = (time.perf_counter() - start) / len(prompts)
print(json.dumps({"seconds": seconds, "tokens": tokens, "sgemm": sgemm()}))
