"""The Python half of card.sh, which alone calls it: makes what milepost and PyTorch both train on, trains and generates with PyTorch, makes the table."""
import argparse
import json
import pathlib
import random
import re
import shutil
import statistics
import sys
import time

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast


def gpt2(width, heads, vocab, positions):
    return {"model_type": "gpt2", "n_embd": width, "n_head": heads, "vocab_size": vocab, "n_positions": positions}


# The shapes of published models, from their config.json. `layers` are those of the main model and of the assistant.
SIZES = {
    "full": {"config": gpt2(768, 12, 50257, 128), "layers": [12, 6], "batch": 8, "block": 128, "generated": 64},
    "small": {"config": gpt2(128, 4, 2048, 128), "layers": [2, 1], "batch": 4, "block": 64, "generated": 16},
    "smollm2-135m": {
        "config": {
            "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152,
            "max_position_embeddings": 8192, "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
        },
        "layers": [30, 10], "batch": 8, "block": 128, "generated": 8,
    },
    "pythia-70m": {
        "config": {
            "model_type": "gpt_neox", "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "vocab_size": 50304, "max_position_embeddings": 2048,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}, "layer_norm_eps": 1e-5, "use_parallel_residual": True,
            "tie_word_embeddings": False,
        },
        "layers": [6, 3], "batch": 8, "block": 128, "generated": 32,
    },
}
ROLES = ["main", "assistant"]
RATE = 5e-5

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=["make", "train", "generate", "table"])
parser.add_argument("--out", type=pathlib.Path, required=True)
parser.add_argument("--size", choices=SIZES, required=True)
parser.add_argument("--device", required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
parser.add_argument("--kind", choices=["eager", "compile"], default="eager")
given = parser.parse_args()
out, size, steps = given.out, SIZES[given.size], given.steps
# The first steps are not timed: a card is warm by then, and a compiler done.
warm = min(10, steps // 2)
every = max(1, steps // 10)
# PyTorch has the card that milepost has, or the CPU.
cuda = re.fullmatch(r"tch:(cuda:\d+)", given.device)
device = cuda.group(1) if cuda else "cuda:0" if given.device in ("wgpu", "vulkan") and torch.cuda.is_available() else "cpu"
here = pathlib.Path(__file__).parent
transformers.utils.logging.disable_progress_bar()


def model_of(layers):
    keys = {**size["config"], "bos_token_id": 0, "eos_token_id": 0}
    keys["n_layer" if keys["model_type"] == "gpt2" else "num_hidden_layers"] = layers
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**keys))


def operations(models):
    """Floating-point operations of a step of both models in matrix products: 6 a weight and token, and 6 a pair of positions, channel and layer in the
    attention, where a position attends to half of the others."""
    total = 0
    for model, layers in zip(models, size["layers"]):
        width = model.config.hidden_size
        tables = ("wte", "wpe", "embed_tokens", "embed_in", "lm_head", "embed_out")
        weights = sum(one.numel() for name, one in model.named_parameters() if one.ndim == 2 and not any(table in name for table in tables))
        total += size["batch"] * size["block"] * 6 * (weights + model.config.vocab_size * width + layers * width * size["block"])
    return total


def make():
    """Random weights: a main model, and an assistant of its first layers. A text of exactly one batch, so that each step of either side sees the same rows."""
    torch.manual_seed(1)
    main, assistant = (model_of(layers) for layers in size["layers"])
    assistant.load_state_dict({name: main.state_dict()[name] for name in assistant.state_dict()})
    for role, model in zip(ROLES, [main, assistant]):
        model.save_pretrained(out / role)
        shutil.copy(here / "../datasets/mini/main/tokenizer.json", out / role)
        # The built-in tokenizer, whatever class belongs to the model.
        (out / role / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}')
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(out / "main/tokenizer.json"))
    words = re.findall(r"[a-z]+", (here / "../datasets/prompt_templates.tsv").read_text())
    rng, text, ids = random.Random(1), "", []
    needed = size["batch"] * size["block"]
    while len(ids) < needed:
        text = f"{text} {rng.choice(words)}".strip()
        ids = tokenizer(text)["input_ids"]
    (out / "news").mkdir(exist_ok=True)
    for split in ["train", "test"]:
        (out / "news" / f"{split}.csv").write_text(f'"1","","{text}"\n')
    rows = [ids[i : i + size["block"]] for i in range(0, needed, size["block"])]
    (out / "made.json").write_text(json.dumps({"rows": rows, "operations": operations([main, assistant])}))
    (out / "card.toml").write_text(f"""seed = 1
[models]
main = "main"
assistant = "assistant"
[data]
folder = "news"
[train]
epochs = {steps}
batch = {size["batch"]}
block = {size["block"]}
lr = {RATE}
schedule = "constant"
clip = 1.0
dropout = 0.0
evaluate = "end"
[templates]
file = "builtin"
set = "unique"
[contrasts.gender]
groups = ["female", "male"]
[hooks.template-kl]
at = "every {every} steps"
runs = "background"
[hooks.match-disparity]
at = "every {every} steps"
runs = "background"
""")


def load(role):
    return AutoModelForCausalLM.from_pretrained(out / role, dtype=torch.float32).to(device)


def wait():
    if device != "cpu":
        torch.cuda.synchronize()


def train():
    """Both models in turns, as milepost's lockstep has it: AdamW without decay, gradients clipped to norm 1, no dropout."""
    rows = torch.tensor(json.loads((out / "made.json").read_text())["rows"], device=device)
    learners = []
    for role in ROLES:
        model = load(role).eval()  # no dropout
        optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, fused=True)

        def loss_of(ids, model=model):
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=given.precision == "bf16"):
                logits = model(ids[:, :-1]).logits
                return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())

        learners.append((model, optimiser, torch.compile(loss_of) if given.kind == "compile" else loss_of))
    losses, seconds = [], []
    for _ in range(steps):
        start = time.perf_counter()
        each = []
        for model, optimiser, loss_of in learners:
            loss = loss_of(rows)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            each.append(loss)
        losses.append([loss.item() for loss in each])
        wait()
        seconds.append(time.perf_counter() - start)
    found = {"losses": losses, "seconds": seconds[warm:]}
    (out / f"pytorch_{given.kind}_{given.precision}.json").write_text(json.dumps(found))


def generate():
    """Assisted generation of prompts that milepost has continued, one by one, as transformers does it."""
    prompts = json.loads((out / "measured.json").read_text())["prompts"]
    prompts = random.Random(1).sample(prompts, min(size["generated"], len(prompts)))
    main, assistant = (load(role).eval() for role in ROLES)
    drafts = assistant.generation_config
    drafts.num_assistant_tokens, drafts.num_assistant_tokens_schedule, drafts.assistant_confidence_threshold = 5, "constant", 0.0

    def continued(ids):
        ids = torch.tensor([ids], device=device)
        text = main.generate(ids, attention_mask=torch.ones_like(ids), assistant_model=assistant, do_sample=False, max_new_tokens=20, eos_token_id=0, pad_token_id=0)
        return text[0, ids.shape[1] :].tolist()

    continued(prompts[0]["prompt_tokens"])
    wait()
    start = time.perf_counter()
    texts = [continued(prompt["prompt_tokens"]) for prompt in prompts]
    wait()
    took = time.perf_counter() - start
    equal = sum(text == prompt["tokens"] for text, prompt in zip(texts, prompts))
    (out / "pytorch_generate.json").write_text(json.dumps({"seconds": took / len(prompts), "equal": equal, "of": len(prompts)}))


def steps_of(run):
    """The losses of each step of a run of milepost, and the seconds of each step after the first ones."""
    lines = [json.loads(line) for line in (out / "runs/card" / run / "milestones.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["source"] == "train" and "train/lr" in line["scalars"]]
    losses = [[line["scalars"][f"train/{role}/loss"] for role in ROLES] for line in lines]
    elapsed = [line["times"]["elapsed"] for line in lines]
    return losses, [then - before for before, then in zip(elapsed[warm - 1 :], elapsed[warm:])]


def whole(name):
    """What a process took as a whole: seconds, and its peak of memory in bytes."""
    return json.loads((out / f"{name}.whole").read_text())


def furthest(found, expected):
    """The largest relative difference of losses, and the step where it is."""
    apart = [(max(abs(a / b - 1) for a, b in zip(ours, theirs)), step) for step, (ours, theirs) in enumerate(zip(found, expected), 1)]
    return max(apart)


def table():
    looked = json.loads((out / "device.json").read_text())["devices"][given.device]
    operations = json.loads((out / "made.json").read_text())["operations"]
    tokens = size["batch"] * size["block"]
    rows, losses = [], {}
    for precision in ["f32", "bf16"]:
        peak = (looked.get(f"product_{precision}") or {}).get("gflops")
        contestants = []
        if (out / "runs/card" / precision).is_dir():
            losses[precision], seconds = steps_of(precision)
            contestants.append(("milepost", seconds, whole(precision)))
        for kind in ["eager", "compile"]:
            path = out / f"pytorch_{kind}_{precision}.json"
            if path.is_file():
                found = json.loads(path.read_text())
                contestants.append((f"PyTorch {kind}", found["seconds"], whole(path.stem)))
                losses[f"{kind} {precision}"] = found["losses"]
        for name, seconds, process in contestants:
            took = statistics.median(seconds)
            used = operations / took / 1e9 / peak if peak else None
            rows.append({"what": "training", "by": name, "precision": precision, "tokens_per_second": tokens / took, "utilisation": used, "process": process})
    hooks = None
    if (out / "runs/card/hooks").is_dir():
        hooks = [sum(steps_of(run)[1]) for run in ["f32", "hooks"]]
    measured = (out / "measured.log").read_text()
    milestone = sum(float(seconds) for seconds in re.findall(r"^\S+ \(([\d.]+) s\)$", measured, re.M))
    prompts = len(json.loads((out / "measured.json").read_text())["prompts"])
    generated = json.loads((out / "pytorch_generate.json").read_text())
    reference = losses["eager f32"]
    apart = {name: furthest(found, reference) for name, found in losses.items() if name != "eager f32"}
    shape = AutoConfig.for_model(**size["config"])
    gpu = torch.cuda.get_device_name(device) if device != "cpu" else "CPU"
    lines = [
        f"{given.device} ({looked.get('is')}), PyTorch {torch.__version__} on {device} ({gpu})",
        f"{given.size}: {size['layers'][0]} and {size['layers'][1]} layers of {shape.hidden_size}, vocabulary {shape.vocab_size}, {size['batch']} x {size['block']} tokens a step, both models in lockstep, {steps} steps",
        "",
        f"{'training':<28}{'tokens/s':>12}{'utilisation':>14}{'of eager':>10}{'whole':>11}{'peak memory':>14}",
    ]
    for row in rows:
        eager = next((one["tokens_per_second"] for one in rows if one["by"] == "PyTorch eager" and one["precision"] == row["precision"]), None)
        used = f"{100 * row['utilisation']:.0f}%" if row["utilisation"] else "not known"
        ratio = f"{row['tokens_per_second'] / eager:.2f}" if eager else ""
        lines.append(f"{row['by'] + ', ' + row['precision']:<28}{row['tokens_per_second']:>12.0f}{used:>14}{ratio:>10}{row['process']['seconds']:>9.1f} s{row['process']['peak'] / 1e9:>11.2f} GB")
    lines += [
        "  utilisation: operations of the products of a step, of the speed of one large product by `milepost device`",
        "  whole, peak memory: of the process, from its start to its end, with loading; memory of the host",
        "",
    ]
    if hooks:
        lines += [f"{'hooks in the background':<28}{100 * (hooks[1] / hooks[0] - 1):>11.1f}%  longer ({hooks[1]:.2f} instead of {hooks[0]:.2f} s, a milestone every {every} steps)"]
    lines += [
        f"{'milestone, milepost':<28}{1000 * milestone / prompts:>12.2f}  ms a prompt, with divergences and statistics ({prompts} prompts, {milestone:.2f} s)",
        f"{'transformers, assisted':<28}{1000 * generated['seconds']:>12.2f}  ms a prompt, decoding alone ({generated['of']} prompts); {generated['equal']} texts are equal",
        "",
        f"losses of {steps} steps against PyTorch eager in f32, largest relative difference:",
    ]
    for name, (difference, step) in apart.items():
        who = f"milepost, {name}" if name in ("f32", "bf16") else f"PyTorch, {name}"
        lines.append(f"{'  ' + who:<28}{difference:>12.1e}  at step {step}")
    text = "\n".join(lines) + "\n"
    (out / "card.txt").write_text(text)
    numbers = {
        "device": given.device, "is": looked.get("is"), "torch": torch.__version__, "torch_device": device, "size": given.size, "shape": size, "training": rows,
        "hooks": hooks and {"without_seconds": hooks[0], "with_seconds": hooks[1]}, "milestone": {"seconds": milestone, "prompts": prompts}, "transformers": generated,
        "losses": {name: {"largest_relative_difference": difference, "step": step} for name, (difference, step) in apart.items()},
    }
    (out / "card.json").write_text(json.dumps(numbers, indent=1) + "\n")
    print("\n" + text, end="")


{"make": make, "train": train, "generate": generate, "table": table}[given.what]()
sys.exit(0)
