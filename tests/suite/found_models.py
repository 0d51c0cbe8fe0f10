"""Ids of texts and logits of a batch by a model directory in transformers: python found_models.py DIR < {"texts", "batch"} > {"ids", "logits"}"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

asked = json.load(sys.stdin)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
with torch.no_grad():
    logits = model(torch.tensor(asked["batch"])).logits
json.dump({"ids": [tokenizer(text, add_special_tokens=False).input_ids for text in asked["texts"]], "logits": logits.flatten().tolist()}, sys.stdout)
