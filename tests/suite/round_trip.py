"""Reads a model directory with transformers, gives its logits, and writes it again: python round_trip.py FROM TO < ids > logits"""
import json
import sys

import torch
from transformers import GPT2LMHeadModel

model = GPT2LMHeadModel.from_pretrained(sys.argv[1]).eval()
model.save_pretrained(sys.argv[2])
with torch.no_grad():
    logits = model(torch.tensor(json.load(sys.stdin))).logits
json.dump(logits.flatten().tolist(), sys.stdout)
