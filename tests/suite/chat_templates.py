"""The chat templates that AutoTokenizer reads from model directories: python chat_templates.py DIR ... > [template, ...]"""
import json
import sys

from transformers import AutoTokenizer

json.dump([AutoTokenizer.from_pretrained(folder).chat_template for folder in sys.argv[1:]], sys.stdout)
