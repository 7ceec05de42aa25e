"""Pages to look at while fine-tuning: a data set, the tokens made of it, a run."""
