"""`python -m finetune`, which `accelerate launch -m finetune train …` needs."""

from finetune.cli import app

app()
