"""The training step of training.rs with PyTorch eager and transformers: tokens a second, median of 6 rounds after a first one."""
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel

BATCH, TIME = 8, 128
torch.manual_seed(1)
model = GPT2LMHeadModel(GPT2Config(vocab_size=8192, n_positions=TIME, n_embd=256, n_layer=6, n_head=8, embd_pdrop=0.0, attn_pdrop=0.0,
                                   resid_pdrop=0.0, bos_token_id=0, eos_token_id=0))
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
ids = torch.randint(0, 8192, (BATCH, TIME))
speeds = []
for _ in range(7):
    start = time.perf_counter()
    loss = model(ids, labels=ids).loss
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    loss.item()
    speeds.append(BATCH * TIME / (time.perf_counter() - start))
print(f"{'PyTorch':<12}{sorted(speeds[1:])[3]:>9.0f} tokens/s ({torch.get_num_threads()} threads)")
